import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos import source as sources
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.rejects import Reason
from assets.methods.photos.source import (
    list_source,
    read_bytes,
    read_labels,
)
from support.sources import LIMITS, NAMES, names, refused, write


def test_a_csv_manifest(tmp_path):
    inside = write(tmp_path / "photos" / "a,b.jpg")
    outside = write(tmp_path / "c.jpg")
    text = f'label,uri\ncat,"a,b.jpg"\n,{outside}\ndog,https://example.com/d.jpg\n'
    manifest = write(tmp_path / "photos" / "m.csv", text.encode("utf-8-sig"))
    files = list_source(str(manifest)).files
    assert [(file.uri, file.label) for file in files] == [
        (str(outside), None),
        (str(inside), "cat"),
        ("https://example.com/d.jpg", "dog"),
    ]
    assert files[2].stamp is None


def test_a_parquet_manifest(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")
    frame = pd.DataFrame({"uri": ["a.jpg", "b.jpg"], "label": [7, 8], "more": [0, 0]})
    frame.to_parquet(tmp_path / "m.parquet")
    files = list_source(str(tmp_path / "m.parquet")).files
    assert [file.label for file in files] == ["7", "8"]


def test_the_rows_of_a_csv_manifest(tmp_path):
    path = write(tmp_path / "photos" / "a.jpg")
    text = (
        ",uri,label,split,camera\n"
        "0,a.jpg, NSFW,train,phone\n"
        f"1,{path},sfw,,\n"
        "2,gone.jpg,,test\n"
        "3,,x,,,surplus\n"
        "4,https://example.com/d.jpg,sfw,,007\n"
    )
    manifest = write(tmp_path / "photos" / "m.csv", text.encode("utf-8-sig"))
    rows = read_labels(str(manifest))
    expected = pd.DataFrame(
        [
            (str(path), " NSFW", "train", "phone"),
            (str(path), "sfw", None, None),
            (str(tmp_path / "photos" / "gone.jpg"), None, "test", None),
            (f"{manifest}#4", "x", None, None),
            ("https://example.com/d.jpg", "sfw", None, "007"),
        ],
        index=range(1, 6),
        columns=["uri", "label", "split", "camera"],
        dtype="string",
    )
    pd.testing.assert_frame_equal(rows, expected)


def test_the_rows_of_a_parquet_manifest(tmp_path):
    frame = pd.DataFrame(
        {
            "seen": [True, None],
            "label": [7, 8],
            "vector": [[0.5], [1.5]],
            "bytes": [b"\xff", b""],
            "uri": ["a.jpg", "b.jpg"],
            "share": [0.25, None],
        }
    )
    frame.to_parquet(tmp_path / "m.parquet")
    rows = read_labels(str(tmp_path / "m.parquet"))
    expected = pd.DataFrame(
        {
            "seen": ["true", None],
            "label": ["7", "8"],
            "uri": [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")],
            "share": ["0.25", None],
        },
        index=range(1, 3),
        dtype="string",
    )
    pd.testing.assert_frame_equal(rows, expected)


def test_every_row_is_listed_under_its_uri(tmp_path):
    for name in NAMES:
        write(tmp_path / name)
    values = [*NAMES, "./#?", "gone.jpg", "", "ftp://host/a.jpg", "a\0b", "s3://bucket/a.jpg"]
    pd.DataFrame({"uri": values, "label": "sfw"}).to_csv(tmp_path / "m.csv", index=False)
    listing = list_source(str(tmp_path / "m.csv"))
    listed = [file.uri for file in listing.files] + [reject.uri for reject in listing.rejects]
    rows = read_labels(str(tmp_path / "m.csv"))
    assert len(rows) == len(values)
    assert sorted(set(rows["uri"])) == sorted(listed)


def test_names_in_a_manifest_are_data(tmp_path):
    for name in NAMES:
        write(tmp_path / name)
    pd.DataFrame({"uri": NAMES}).to_csv(tmp_path / "m.csv", index=False)
    listing = list_source(str(tmp_path / "m.csv"))
    assert sorted(names(listing, tmp_path)) == sorted(NAMES)


def test_file_urls_in_a_manifest(tmp_path):
    path = write(tmp_path / "a b.jpg")
    manifest = write(tmp_path / "m.csv", f"uri\nfile://{quote(str(path))}\n".encode())
    assert list_source(str(manifest)).files[0].uri == str(path)


def test_rows_for_the_same_file_count_once(tmp_path):
    path = write(tmp_path / "a.jpg")
    text = f"uri,label\na.jpg,first\n./a.jpg,second\n{path},third\n"
    (file,) = list_source(str(write(tmp_path / "m.csv", text.encode()))).files
    assert file.label == "first"


def test_rows_that_name_no_photo(tmp_path):
    (tmp_path / "folder").mkdir()
    text = 'uri\ngone.jpg\n""\nfolder\nftp://host/a.jpg\nsimplecache::http://127.0.0.1/a\na\0b\n'
    manifest = write(tmp_path / "m.csv", text.encode())
    listing = list_source(str(manifest))
    found = {os.path.basename(reject.uri): reject.reason for reject in listing.rejects}
    assert listing.files == ()
    assert found == {
        "gone.jpg": Reason.UNREADABLE,
        "m.csv#2": Reason.UNREADABLE,
        "folder": Reason.UNREADABLE,
        "a.jpg": Reason.UNSUPPORTED,
        "a": Reason.UNSUPPORTED,
        "a\0b": Reason.UNREADABLE,
    }


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"", "m.csv is empty."),
        ("m.csv", b"\xef\xbb\xbf\r\n\r\n", "m.csv is empty."),
        ("m.csv", b"path,label\na.jpg,x\n", "no column named uri"),
        ("m.csv", b"uri,label\n", "no rows"),
        (
            "m.csv",
            b"path;label\na.jpg;x\n",
            "no column named uri: its columns are 'path', 'label'.",
        ),
        ("m.csv", b"uri;label\r\n", "no rows"),
        ("m.csv", b"uri,split,split\na.jpg,test,train\n", "two columns named split"),
        ("m.csv", b"uri, Label,label\na.jpg,x,y\n", "named label (' Label' and 'label'): keep one"),
        ("m.csv", b"uri,note,note \na.jpg,x,y\n", "two columns named note ('note' and 'note ')"),
        ("m.csv", b"uri\na.jpg\ncaf\xe9.jpg\n", "UTF-8 or UTF-16: line 3 is not."),
        ("m.csv", b"\xff\xfeu\0r", "not encoded in UTF-8 or UTF-16."),
        ("m.csv", b'"uri\na\n', "damaged"),
        ("m.parquet", b"", "damaged"),
        ("m.parquet", b"PAR1 and nothing more", "damaged"),
    ],
)
def test_manifests_that_are_none(tmp_path, name, data, message):
    assert message in refused(str(write(tmp_path / name, data)))


def test_a_parquet_manifest_without_the_column(tmp_path):
    pd.DataFrame({"path": ["a"]}).to_parquet(tmp_path / "m.parquet")
    assert "no column named uri" in refused(str(tmp_path / "m.parquet"))


def test_a_manifest_without_labels(tmp_path):
    manifest = write(tmp_path / "m.csv", b"uri,split\na.jpg,test\n")
    with pytest.raises(UserError) as caught:
        read_labels(str(manifest))
    assert str(caught.value) == (
        f"The manifest {manifest} has no column named label: its columns are 'uri', 'split'."
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["Split", " split", "split\t", "SPLIT", "\ufeffSplit\xa0"])
def test_blanks_and_case_of_the_columns_that_are_read_do_not_matter(tmp_path, name, kind):
    table = pd.DataFrame({" URI ": ["a.jpg"], "Label ": ["x"], name: ["test"], " Note ": ["y"]})
    source = tmp_path / f"m.{kind}"
    table.to_csv(source, index=False) if kind == "csv" else table.to_parquet(source)
    assert list_source(str(source)).rejects[0].uri == str(tmp_path / "a.jpg")
    (row,) = read_labels(str(source)).to_dict("records")
    assert row == {"uri": str(tmp_path / "a.jpg"), "label": "x", "split": "test", "Note": "y"}
    write(tmp_path / "a.jpg")
    assert list_source(str(source)).files[0].label == "x"


def listed(source: Path) -> list[tuple[str, str | None]]:
    """The names and labels of a manifest's files, which are the same in its rows."""
    files = list_source(str(source)).files
    rows = read_labels(str(source))
    whole = rows[rows.uri.isin([file.uri for file in files])]
    labels = [None if pd.isna(label) else label.strip() for label in whole.label]
    assert dict(zip(whole.uri, labels, strict=True)) == {file.uri: file.label for file in files}
    return [(os.path.basename(file.uri), file.label) for file in files]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path, encoding, delimiter, line_end):
    for name in ("ä.jpg", "b;c.jpg", "d,e.jpg"):
        write(tmp_path / name)
    lines = [["uri", "label"], ["ä.jpg", "x"], ['"b;c.jpg"', "y"], ['"d,e.jpg"', ""], []]
    text = line_end.join(delimiter.join(line) for line in lines)
    manifest = write(tmp_path / "m.csv", text.encode(encoding))
    assert listed(manifest) == [("b;c.jpg", "y"), ("d,e.jpg", None), ("ä.jpg", "x")]


def test_blanks_after_commas_belong_to_no_value(tmp_path):
    write(tmp_path / "a,b.jpg")
    manifest = write(tmp_path / "m.csv", b'label, uri, split\nx, "a,b.jpg", test\n')
    assert listed(manifest) == [("a,b.jpg", "x")]
    assert read_labels(str(manifest)).split.tolist() == ["test"]


def test_a_long_value_in_a_column_that_nobody_reads_is_no_matter(tmp_path):
    write(tmp_path / "a.jpg")
    text = f"uri,label,embedding\na.jpg,x,{200_000 * '1'}\n"
    assert listed(write(tmp_path / "m.csv", text.encode())) == [("a.jpg", "x")]


@pytest.mark.parametrize(
    "bad",
    ['b.jpg,y,"say "cheese" now"', 'b.jpg,y,"a quote that does not end', '"b.jpg"2,y,'],
)
@pytest.mark.parametrize("after", ["c.jpg,z,", 'c.jpg,z,"well, well"', '"c.jpg",z,'])
def test_a_row_with_a_wrong_quotation_mark_is_a_reject_and_the_others_are_read(
    tmp_path, bad, after
):
    for name in "abc":
        write(tmp_path / f"{name}.jpg")
    text = f"uri,label,note\na.jpg,x,\n\n{bad}\n{after}\n"
    manifest = write(tmp_path / "m.csv", text.encode())
    assert listed(manifest) == [("a.jpg", "x"), ("c.jpg", "z")]
    (reject,) = list_source(str(manifest)).rejects
    assert (reject.uri, reject.reason) == (f"{manifest}#2", Reason.UNREADABLE)
    assert reject.detail.startswith("Line 4 of the manifest cannot be read: a quotation mark")
    # The rows of train and evaluate are the same, so that each is accounted for.
    assert read_labels(str(manifest)).uri.tolist()[1] == f"{manifest}#2"


def test_a_quotation_mark_inside_a_plain_value_is_a_character(tmp_path):
    write(tmp_path / 'a 5".jpg')
    assert listed(write(tmp_path / "m.csv", b'uri,label\na 5".jpg,x\n')) == [('a 5".jpg', "x")]


def test_a_split_of_lists_is_refused_and_other_columns_of_lists_are_passed_over(tmp_path):
    rows = pd.DataFrame({"uri": ["a.jpg"], "label": ["sfw"], "vector": [[1.0]]})
    rows.to_parquet(tmp_path / "m.parquet")
    assert list(read_labels(str(tmp_path / "m.parquet")).columns) == ["uri", "label"]
    rows.rename(columns={"vector": "split"}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"column split of the manifest .* does not hold text"):
        read_labels(str(tmp_path / "m.parquet"))


def test_a_remote_manifest(memory):
    memory.pipe("/bucket/a.jpg", b"a")
    memory.pipe("/bucket/m.csv", b"uri\na.jpg\n/etc/passwd\nfile:///etc/passwd\ns3://b/c.jpg\n")
    listing = list_source("memory://bucket/m.csv")
    assert [file.uri for file in listing.files] == [
        "memory://bucket/a.jpg",
        "memory://bucket/etc/passwd",
        "s3://b/c.jpg",
    ]
    assert [reject.uri for reject in listing.rejects] == ["file:///etc/passwd"]
    assert read_bytes(listing.files[0], LIMITS) == b"a"


def test_the_rows_of_a_remote_manifest(memory):
    memory.pipe("/bucket/m.csv", b"label,uri\nsfw,a.jpg\nnsfw,file:///etc/passwd\n")
    rows = read_labels("memory://bucket/m.csv")
    assert rows.to_dict("index") == {
        1: {"label": "sfw", "uri": "memory://bucket/a.jpg"},
        2: {"label": "nsfw", "uri": "file:///etc/passwd"},
    }


def test_a_manifest_on_the_web(monkeypatch):
    rows = b"uri,label\na b.jpg,cat\n../c.jpg,dog\n"
    asked = []

    def fetch(url: str, limits: FetchLimits, known_stamp: str | None = None) -> sources.Fetched:
        asked.append(url)
        return sources.Fetched(rows, None)

    monkeypatch.setattr(sources, "fetch", fetch)
    listing = list_source("https://example.com/photos/m.csv?version=2")
    assert [(file.uri, file.label) for file in listing.files] == [
        ("https://example.com/c.jpg", "dog"),
        ("https://example.com/photos/a%20b.jpg", "cat"),
    ]
    assert read_bytes(listing.files[0], LIMITS) == rows
    assert asked == ["https://example.com/photos/m.csv?version=2", "https://example.com/c.jpg"]


def test_the_rows_of_a_manifest_on_the_web(monkeypatch):
    rows = b"uri,label\na b.jpg,cat\n../c.jpg,dog\n"
    monkeypatch.setattr(sources, "fetch", lambda url, limits: sources.Fetched(rows, None))
    assert read_labels("https://example.com/photos/m.csv")["uri"].tolist() == [
        "https://example.com/photos/a%20b.jpg",
        "https://example.com/c.jpg",
    ]
    with pytest.raises(UserError, match=r"has to end in .csv or .parquet"):
        read_labels("https://example.com/photos")


def test_a_manifest_on_a_private_address_is_refused():
    assert "not a public address" in refused("http://127.0.0.1/m.csv")


def test_a_selection_from_the_page_of_a_map_is_a_manifest_without_its_places(tmp_path):
    columns = "image_id,uri,label,score,row,col,x,y"
    (tmp_path / "m.csv").write_text(f"{columns}\n{'a' * 64},a.jpg,sfw,0.2,1,2,0.5,0.25\n")
    rows = read_labels(str(tmp_path / "m.csv"))
    assert list(rows.columns) == ["uri", "label"]
    assert rows.label.tolist() == ["sfw"]
    (tmp_path / "m.csv").write_text("uri\na.jpg\n")
    assert read_labels(str(tmp_path / "m.csv"), need_labels=False).label.isna().all()
