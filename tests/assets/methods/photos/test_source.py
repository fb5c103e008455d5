import os
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos.catalogue import CatalogueSettings, find_addresses
from assets.methods.photos.source import (
    Listing,
    SourceFile,
    list_source,
    listing_digest,
    read_bytes,
    read_if_changed,
    read_labels,
)
from support.sources import LIMITS, names, refused, write


def test_sources_that_are_none(tmp_path):
    assert refused(str(tmp_path / "gone")) == f"There is no folder or manifest {tmp_path}/gone."
    assert "neither a folder nor a manifest" in refused(str(write(tmp_path / "a.jpg")))
    assert "http" in refused("http://example.com/photos/")
    assert "known" in refused("nonsense://bucket")
    assert "chains" in refused("simplecache::http://127.0.0.1/")
    assert "There is no" in refused("memory://nowhere")


def test_what_is_refused_is_told_without_its_secrets(tmp_path):
    for source in (
        "http://bob:s3cr3t@127.0.0.1:1/list.csv",
        "http://127.0.0.1:1/list.csv?X-Amz-Signature=s3cr3t",
        "http://127.0.0.1:1/list?token=s3cr3t",
        "simplecache::http://bob:s3cr3t@127.0.0.1/",
        "memory://bob:s3cr3t@nowhere",
    ):
        message = refused(source)
        assert "s3cr3t" not in message
        assert "hidden" in message
    (tmp_path / "m.csv").write_text("uri\nftp://bob:s3cr3t@host/a.jpg\n")
    (reject,) = list_source(str(tmp_path / "m.csv")).rejects
    assert reject.uri == "ftp://hidden@host/a.jpg"


def test_an_address_with_a_secret_is_asked_and_not_shown(tmp_path, memory):
    memory.pipe("/store/a.png?sig=s3cr3t1", b"one")
    memory.pipe("/store/a.png?sig=s3cr3t2", b"two")
    (tmp_path / "m.csv").write_text(
        "uri\nmemory://store/a.png?sig=s3cr3t1\nmemory://store/a.png?sig=s3cr3t2\n"
    )
    files = list_source(str(tmp_path / "m.csv")).files
    assert {read_bytes(file, LIMITS) for file in files} == {b"one", b"two"}
    assert len({file.uri for file in files}) == 2
    assert "s3cr3t" not in repr(files)
    found = find_addresses(str(tmp_path / "m.csv"), [files[0].uri, "/gone"], CatalogueSettings())
    assert found == {files[0].uri: files[0].address}
    assert find_addresses(str(tmp_path / "gone.csv"), [files[0].uri], CatalogueSettings()) == {}


def test_a_folder_without_folders_has_no_labels(tmp_path, memory):
    memory.pipe("/photos/a.jpg", b"a")
    for source in (str(tmp_path), f"file://{tmp_path}", "memory://photos"):
        with pytest.raises(UserError) as caught:
            read_labels(source)
        assert str(caught.value) == (
            f"There is no manifest at {source}, and no folder in it: labelled data is a CSV or "
            "Parquet file with a column uri, of paths or URLs, and a column label, or a folder "
            "with a folder for each class."
        )
    for gone in (str(tmp_path / "gone.csv"), "memory://gone.csv"):
        with pytest.raises(UserError, match=r"There is no folder or manifest .*gone.csv\.$"):
            read_labels(gone)


def labels_below(folder: str, *paths: str) -> list[tuple[str | None, str | None]]:
    """The label and the split of each path below a folder, of which every path is a file."""
    rows = read_labels(folder).set_index("uri")
    listing = list_source(folder)
    assert sorted(rows.index) == [file.uri for file in listing.files]
    rows.index = rows.index.map(lambda uri: uri.partition("photos/")[2])
    found = rows.loc[list(paths), ["label", "split"]].astype(object)
    return list(found.where(found.notna(), None).itertuples(index=False, name=None))


FOLDERS = {
    ("nsfw/a.jpg", "sfw/b.jpg", "sfw/beach/2024/c.jpg", "d.jpg"): [
        ("nsfw", None),
        ("sfw", None),
        ("sfw", None),
        (None, None),
    ],
    ("Training/nsfw/a.jpg", "val/sfw/b.jpg", "test/sfw/more/c.jpg", "train/d.jpg", "e.jpg"): [
        ("nsfw", "Training"),
        ("sfw", "val"),
        ("sfw", "test"),
        ("train", None),
        (None, None),
    ],
    ("train/nsfw/a.jpg", "train/b.jpg", "rest/c.jpg"): [
        ("nsfw", "train"),
        (None, "train"),
        ("rest", None),
    ],
    # Here a train is what the photos show.
    ("train/a.jpg", "car/b.jpg", "plane/c.jpg"): [("train", None), ("car", None), ("plane", None)],
}


@pytest.mark.parametrize(("paths", "expected"), FOLDERS.items())
def test_folders_of_classes_are_labels(tmp_path, memory, paths, expected):
    for path in paths:
        write(tmp_path / "photos" / path)
        memory.pipe(f"/bucket/photos/{path}", b"x")
    for source in (
        f"{tmp_path}/photos",
        f"{tmp_path}/photos/",
        f"file://{tmp_path}/photos",
        "memory://bucket/photos",
        "memory:///bucket/photos/",
    ):
        assert labels_below(source, *paths) == expected


def test_a_folder_whose_name_is_no_text_is_a_label_all_the_same(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write(folder / "a.jpg")
    write(tmp_path / "bar" / "b.jpg")
    assert sorted(read_labels(str(tmp_path)).label) == ["bar", "caf\ufffd"]


def test_a_folder_named_like_a_manifest(tmp_path):
    write(tmp_path / "photos.csv" / "a.jpg")
    assert names(list_source(str(tmp_path / "photos.csv")), tmp_path) == ["photos.csv/a.jpg"]


def test_a_protocol_without_its_package(monkeypatch):
    def missing(url: str) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    assert "package that is not installed" in refused("s3://bucket/photos")


def test_file_urls(tmp_path):
    write(tmp_path / "my photos" / "a.jpg")
    listing = list_source(f"file://{quote(str(tmp_path))}/my%20photos")
    assert names(listing, tmp_path) == ["my photos/a.jpg"]


def test_the_stamp_changes_with_the_file(tmp_path):
    path = write(tmp_path / "a.jpg")
    before = list_source(str(tmp_path))
    assert list_source(str(tmp_path)) == before
    os.utime(path, ns=(1, 1))
    after = list_source(str(tmp_path))
    assert before.files[0].stamp != after.files[0].stamp
    assert listing_digest(before) != listing_digest(after)


def test_the_digest_tells_names_apart():
    one = Listing((SourceFile("a", None, None), SourceFile("b", "1", 1)), (), 0)
    other = Listing((SourceFile('a", null]\n["b', "1", 1),), (), 0)
    assert listing_digest(one) != listing_digest(other)
    assert len(listing_digest(one)) == 64


def test_what_has_not_changed_is_not_read(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg")
    (file,) = list_source(str(tmp_path)).files
    monkeypatch.setattr(os, "open", None)
    assert read_if_changed(file, LIMITS, file.stamp).data is None
