import csv
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.methods.common.tables import csv_bytes, table_bytes


def test_a_table_for_people():
    table = pd.DataFrame(
        {
            "uri": pd.array(["/a\x1b.jpg", "=b", "/c.jpg", None], dtype="string"),
            "label": ["=1+1", "-1", "@home", "'=x"],
            "detail": ["two\r\nlines", "a,b", "", None],
            "score": [0.25, 1, float("nan"), 0],
            "left_out": [True, False, True, False],
            "\x1bname": ["x", "＝y", "-", "+49"],
        }
    )
    rows = list(csv.reader(io.StringIO(csv_bytes(table).decode(), newline="")))
    assert rows == [
        ["uri", "label", "detail", "score", "left_out", "\\x1bname"],
        ["file:///a%1B.jpg", "'=1+1", r"two\r\nlines", "0.25", "True", "x"],
        ["=b", "-1", "a,b", "1.0", "False", "'＝y"],
        ["/c.jpg", "'@home", "", "", "True", "'-"],
        ["", "''=x", "", "0.0", "False", "+49"],
    ]


def test_a_plain_table_is_written_as_pandas_does():
    table = pd.DataFrame({"uri": ["/a b.jpg"], "n": [3], "score": [0.1], "reason": ['x, "y"']})
    assert csv_bytes(table) == table.to_csv(index=False).encode()
    assert csv_bytes(table[:0]) == b"uri,n,score,reason\n"


TABLE = pd.DataFrame(
    {
        "uri": pd.array(["/a\x1b.jpg", "/b.jpg"], "string"),
        "score": [0.1, float("nan")],
        "flagged": pd.array([True, None], "boolean"),
        "frame": pd.array([None, 3], "Int64"),
        "reason": pd.array([None, None], "string"),
    }
)
ORIGIN = {"model": "m", "table": "t", "threshold": 0.5}


@pytest.mark.parametrize("ending", [".csv", ".CSV"])
def test_csv_has_the_origin_in_each_row(ending):
    assert table_bytes(TABLE, ending, ORIGIN).decode().splitlines() == [
        "uri,score,flagged,frame,reason,model,table,threshold",
        "file:///a%1B.jpg,0.1,True,,,m,t,0.5",
        "/b.jpg,,,3,,m,t,0.5",
    ]
    assert list(TABLE) == ["uri", "score", "flagged", "frame", "reason"]


def test_parquet_has_types_also_where_nothing_is_in_a_column():
    table = pq.read_table(pa.BufferReader(table_bytes(TABLE, ".parquet", ORIGIN)))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "uri": "string",
        "score": "double",
        "flagged": "bool",
        "frame": "int64",
        "reason": "string",
        "model": "string",
        "table": "string",
        "threshold": "double",
    }
    assert table.to_pylist()[0] == {
        **{"uri": "/a\x1b.jpg", "score": 0.1, "flagged": True, "frame": None, "reason": None},
        **ORIGIN,
    }
    assert table.to_pylist()[1]["flagged"] is None
    empty = pq.read_table(pa.BufferReader(table_bytes(TABLE[:0], ".parquet", ORIGIN)))
    assert empty.schema == table.schema


def test_json_has_the_origin_once_and_null_for_what_is_missing():
    data = table_bytes(TABLE, ".json", ORIGIN)
    assert json.loads(data) == {
        "provenance": ORIGIN,
        "rows": [
            {"uri": "/a\x1b.jpg", "score": 0.1, "flagged": True, "frame": None, "reason": None},
            {"uri": "/b.jpg", "score": None, "flagged": None, "frame": 3, "reason": None},
        ],
    }
    assert b"\x1b" not in data
