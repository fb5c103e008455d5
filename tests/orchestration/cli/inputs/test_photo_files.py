import os
import re
from pathlib import Path

import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos.source import list_source
from orchestration.cli.inputs.photo_files import named_source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two photos, a manifest and a folder; the home is elsewhere."""
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "home"))
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "list.csv"):
        (photos / name).write_bytes(b"")
    monkeypatch.chdir(photos)
    return photos


@pytest.mark.parametrize(
    "source",
    [
        "inner",
        "list.csv",
        "s3://bucket/photos",
        "https://host/list.parquet",
        "demo:",
        "file:///tmp",
    ],
)
def test_a_folder_a_url_or_a_manifest_is_the_source_itself(folder, source):
    named = named_source([source])
    assert (named.source, named.photos) == (source, ())
    assert not Path(os.environ["TESSERA_HOME"]).exists()


def test_photos_have_one_name_and_one_source_in_any_order(folder):
    uris = (str(folder / "a.jpg"), str(folder / "b.jpg"))
    both = named_source(["a.jpg", "b.jpg"])
    assert both == named_source(["b.jpg", str(folder / "inner" / ".." / "a.jpg"), "b.jpg"])
    assert both.photos == uris
    assert re.fullmatch(r"a-and-1-more-[0-9a-f]{6}", both.name)
    listing = list_source(both.source)
    assert tuple(file.uri for file in listing.files) == uris
    assert listing.is_manifest
    one = named_source(["a.jpg"])
    assert re.fullmatch(r"a-[0-9a-f]{6}", one.name)
    assert one == named_source([f"file://{folder}/a.jpg"])
    assert len({one.source, both.source, named_source(["b.jpg"]).source}) == 3


@pytest.mark.parametrize(
    "address", ["https://host/a.jpg?token=s3cr3t", "https://host/photo/7", "s3://bucket/a.JPG"]
)
def test_an_address_of_a_photo_is_a_photo(folder, address):
    named = named_source([address, "a.jpg"])
    files = list_source(named.source).files
    assert {file.location for file in files} == {address, str(folder / "a.jpg")}
    assert "s3cr3t" not in named.name + files[1].uri
    assert named_source([address]).photos == (address,)


@pytest.mark.parametrize("name", ["two\nlines.png", "carriage\rreturn.png", ' "a", b .png', "#x"])
def test_names_of_all_kinds_are_read_back(folder, name):
    (folder / name).write_bytes(b"")
    (file,) = list_source(named_source([str(folder / name)]).source).files
    assert file.uri == str(folder / name)


def test_a_name_that_is_not_utf_8_is_read_back(folder):
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes(b"")
    (file,) = list_source(named_source([str(folder / name)]).source).files
    assert file.uri.endswith("caf%E9.png")


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (["none.jpg"], "There is no folder, manifest or photo none.jpg."),
        (["a.jpg", "none.jpg"], "There is no photo none.jpg."),
        (["a.jpg", "inner"], "inner is a folder: give one folder, URL or manifest alone, or else"),
        (["list.csv", "a.jpg"], "list.csv is a manifest: give one folder,"),
        (["a.jpg", "https://bob:pw@h/m.csv"], "https://hidden@h/m.csv is a manifest: give one"),
        (["a.jpg", "s3://bucket/photos"], "s3://bucket/photos is no photo: give one folder,"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(folder, named, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        named_source(named)
    assert not Path(os.environ["TESSERA_HOME"]).exists()
