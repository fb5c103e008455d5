import os
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
    read_manifest,
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


def test_folders_are_no_manifests(tmp_path, memory):
    memory.pipe("/photos/a.jpg", b"a")
    for source in (str(tmp_path), f"file://{tmp_path}", "memory://photos", "memory://gone.csv"):
        with pytest.raises(UserError) as caught:
            read_manifest(source)
        assert str(caught.value) == (
            f"There is no manifest at {source}: labelled data is a CSV or Parquet file with a "
            "column uri, of paths or URLs, and a column label."
        )
    with pytest.raises(UserError, match=r"There is no folder or manifest .*gone.csv\.$"):
        read_manifest(str(tmp_path / "gone.csv"))


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
