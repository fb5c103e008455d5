import csv
import io

import pandas as pd

from assets.methods.common.tables import csv_bytes


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
