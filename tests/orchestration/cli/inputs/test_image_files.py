import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assets.config import RawImagesConfig
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import image_id
from orchestration.cli.common.options import Options
from orchestration.cli.inputs.image_files import ImageFiles, reading_settings

NONE_GIVEN = Options({}, debug=False)


@pytest.fixture
def photo(tmp_path):
    """Returns a function that writes a photo of one grey level, and gives its path as text."""

    def write(name: str, level: int = 128, size: tuple[int, int] = (12, 9)) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (level,) * 3).save(path, "PNG")
        return str(path)

    return write


def unheard(message: str) -> None:
    raise AssertionError(message)


def short(path: str) -> str:
    return image_id(Path(path).read_bytes())[:8]


def level_of(picture: Image.Image) -> int:
    return int(np.asarray(picture).flat[0])


def test_images_are_read_in_their_order_each_with_its_name_and_folder(photo):
    images = [photo("b.png", 10), photo("a.png", 20), photo("more/b.png", 30)]
    files = ImageFiles(images, unheard)
    read = list(files.read(reading_settings(NONE_GIVEN)))
    assert [(one.number, one.uri, one.name, one.folder) for one in read] == [
        (1, images[0], "b.png", f"b-{short(images[0])}"),
        (2, images[1], "a.png", f"a-{short(images[1])}"),
        (3, images[2], "b.png", f"b-{short(images[2])}"),
    ]
    assert [level_of(one.image) for one in read] == [10, 20, 30]
    assert len(files) == 3
    assert files.all_read


def test_an_image_that_is_named_twice_is_done_twice(photo):
    image = photo("cat.png")
    read = list(ImageFiles([image, image], unheard).read(reading_settings(NONE_GIVEN)))
    assert [one.folder for one in read] == [f"cat-{short(image)}", f"cat-{short(image)}-2"]


def test_a_path_from_here_becomes_a_whole_one(photo, monkeypatch, tmp_path):
    whole = photo("cat.png")
    monkeypatch.chdir(tmp_path)
    (read,) = ImageFiles(["cat.png"], unheard).read(reading_settings(NONE_GIVEN))
    assert (read.uri, read.name) == (whole, "cat.png")


def test_a_uri_of_a_local_file_is_read_as_its_path_is(photo):
    uri = "file://" + photo("a b.png", 7).replace(" ", "%20")
    (read,) = ImageFiles([uri], unheard).read(reading_settings(NONE_GIVEN))
    assert (read.uri, level_of(read.image)) == (uri, 7)


def test_a_name_that_is_no_text_is_read_all_the_same(photo, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(photo("cafe.png")).rename(os.fsdecode(name))
    (read,) = ImageFiles([os.fsdecode(name)], unheard).read(reading_settings(NONE_GIVEN))
    assert read.uri == f"file://{tmp_path}/caf%E9.png"
    # What is written into a report or a page has to be text.
    assert all(one.encode("utf-8") for one in (read.uri, read.name, read.folder))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "link"])
def test_what_is_no_file_is_told_before_anything_is_read(photo, tmp_path, kind):
    wrong = tmp_path / "wrong"
    if kind == "folder":
        wrong.mkdir()
    elif kind == "pipe":
        os.mkfifo(wrong)
    elif kind == "link":
        wrong.symlink_to(tmp_path / "nowhere")
    told = []
    files = ImageFiles([str(wrong), photo("cat.png")], told.append)
    (line,) = told
    assert line.startswith(f"tessera: {wrong} was left out: ")
    assert ("Folders are what tessera score takes." in line) == (kind == "folder")
    assert "\n" not in line
    assert not files.all_read
    # The numbers count those that are there.
    assert len(files) == 1
    assert [one.number for one in files.read(reading_settings(NONE_GIVEN))] == [1]
    assert not files.all_read


def test_without_a_file_that_is_there_there_is_nothing_to_read(tmp_path):
    told = []
    files = ImageFiles([str(tmp_path / "missing.png")], told.append)
    assert not files
    assert list(files.read(reading_settings(NONE_GIVEN))) == []
    assert len(told) == 1


def test_a_file_that_is_no_image_is_told_in_its_turn_and_the_others_follow(photo, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photo("whole.png")).read_bytes()[:40])
    told = []
    files = ImageFiles([photo("a.png"), str(broken), photo("b.png")], told.append)
    assert files.all_read
    assert told == []
    read = list(files.read(reading_settings(NONE_GIVEN)))
    assert [(one.number, one.name) for one in read] == [(1, "a.png"), (3, "b.png")]
    (line,) = told
    assert line.startswith(f"tessera: {broken} was left out: ")
    assert not files.all_read


def test_a_file_that_is_gone_when_its_turn_comes_is_told(photo):
    images = [photo("a.png"), photo("b.png")]
    told = []
    files = ImageFiles(images, told.append)
    reading = files.read(reading_settings(NONE_GIVEN))
    next(reading)
    Path(images[1]).unlink()
    assert list(reading) == []
    assert len(told) == 1
    assert not files.all_read


def test_an_address_is_not_looked_at_before_its_turn():
    told = []
    files = ImageFiles(["http://127.0.0.1:1/cat.png"], told.append)
    assert files
    assert told == []
    assert list(files.read(reading_settings(NONE_GIVEN))) == []
    (line,) = told
    assert line.startswith("tessera: http://127.0.0.1:1/cat.png was left out: ")
    assert not files.all_read


def test_an_image_that_somebody_names_is_never_too_small(photo):
    image = photo("dot.png", size=(1, 1))
    (read,) = ImageFiles([image], unheard).read(reading_settings(NONE_GIVEN))
    assert read.image.size == (1, 1)
    told = []
    assert list(ImageFiles([image], told.append).read(CatalogueSettings())) == []
    assert len(told) == 1


def test_private_addresses_are_asked_only_if_somebody_allows_it():
    assert not reading_settings(NONE_GIVEN).fetch.allow_private_addresses
    given = Options({RawImagesConfig: {"allow_private_addresses": True}}, debug=False)
    assert reading_settings(given).fetch.allow_private_addresses
