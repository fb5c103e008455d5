from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.target import Target
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import without_secrets
from assets.methods.models.identity import ModelIdentity
from assets.methods.photos.animation import Frame, frame_id
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from assets.results import originals
from assets.results.originals import choose_images, folder_name, read_originals
from support.image_server import picture

IMAGES = pd.DataFrame(
    [("c", "/c.png"), ("a", "/a.png"), ("b", "/b.png"), ("b", "/copy of b.png"), ("d", "/d.png")],
    columns=["image_id", "uri"],
)
SCORES = pd.DataFrame({"image_id": list("abcd"), "score": [0.5, 0.9, 0.5, 0.1]})


def chosen(images: pd.DataFrame = IMAGES, scores: pd.DataFrame = SCORES, **config) -> list[str]:
    return choose_images(images, scores, OcclusionMapsConfig(**config)).image_id.tolist()


def test_the_highest_scores_are_chosen_each_photo_once():
    assert chosen(highest=1) == ["b"]
    # Of equal scores the order is that of the image_ids, however the catalogue is sorted.
    assert chosen(highest=3) == ["b", "a", "c"]
    assert chosen(highest=9) == ["b", "a", "c", "d"]
    assert chosen(IMAGES[::-1], SCORES[::-1], highest=3) == ["b", "a", "c"]


def test_what_is_chosen_comes_with_its_uri_and_its_score():
    table = choose_images(IMAGES, SCORES, OcclusionMapsConfig(highest=2))
    assert table.to_dict("records") == [
        {"image_id": "b", "uri": "/b.png", "score": 0.9},
        {"image_id": "a", "uri": "/a.png", "score": 0.5},
    ]


def test_images_are_named_as_they_are_shown_or_as_a_manifest_has_them():
    images = pd.DataFrame(
        {"image_id": ["a", "b"], "uri": ["/a\x1b.png", without_secrets("s3://b/b.png?sig=s3cr3t")]}
    )

    def found(name: str) -> list[str]:
        return choose_images(images, SCORES, OcclusionMapsConfig(images=[name])).image_id.tolist()

    assert found("file:///a%1B.png") == ["a"]
    assert found("s3://b/b.png?sig=s3cr3t") == ["b"]
    with pytest.raises(UserError) as caught:
        found("s3://b/c.png?sig=s3cr3t")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["d"], ["d"]),
        (["/d.png", "c"], ["c", "d"]),
        (["/copy of b.png"], ["b"]),
        (["b", "/b.png", "b"], ["b"]),
    ],
)
def test_a_list_names_images_by_id_or_uri_whatever_their_score(named, expected):
    config = OcclusionMapsConfig(images=named, highest=1)
    table = choose_images(IMAGES, SCORES, config)
    assert table.image_id.tolist() == expected
    assert table.index.tolist() == list(range(len(expected)))


def test_an_image_that_is_not_in_the_collection_is_named():
    config = OcclusionMapsConfig(images=["a", "/e.png"])
    with pytest.raises(UserError, match=r"^/e.png is not an image of this collection"):
        choose_images(IMAGES, SCORES, config)


@pytest.mark.parametrize("named", [[], ["d"], ["a"]])
def test_scores_that_are_older_than_the_catalogue_are_told(named):
    config = OcclusionMapsConfig(images=named)
    with pytest.raises(UserError, match="1 of 4 images have no score in nsfw_scores yet"):
        choose_images(IMAGES, SCORES[:3], config)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/photos/cat.jpg", "cat"),
        ("/photos/cat", "cat"),
        ("https://example.org/a%20b.jpg?size=1", "a_20b"),
        ("C:\\photos\\cat.jpg", "cat"),
        ("/photos/ünïcode 1.5.jpg", "ünïcode_1.5"),
        ("/photos/..", "image"),
        ("..", "image"),
        ("/photos/.hidden", "hidden"),
        ("/photos/<img src=x>.jpg", "_img_src_x_"),
        ("/photos/with\nnewline.jpg", "with_newline"),
        ("/photos/" + 100 * "x" + ".jpg", 80 * "x"),
        # Letters of four bytes: a name has 255 bytes at most.
        ("/photos/" + 62 * "\U00020000" + ".jpg", 50 * "\U00020000"),
    ],
)
def test_a_folder_has_the_name_of_the_file_made_safe_and_a_short_id(uri, name):
    assert folder_name(uri, "0123456789abcdef") == f"{name}-01234567"


def test_an_original_is_named_without_secrets_and_control_characters(memory):
    address = "memory://store/a\x1b]0;x\x07.png?token=s3cr3t"
    memory.pipe(address.removeprefix("memory:/"), picture())
    (original,) = read_originals([address], CatalogueSettings(), lambda *_: None)
    folder = f"a__0_x_-{original.image_id[:8]}"
    assert (original.image.size, original.folder) == ((64, 48), folder)
    assert "s3cr3t" not in repr(original)
    assert not {"\x1b", "\x07"} & set(original.name)


class Whiteness:
    """Scores images by their mean, and notes how many."""

    class_names, fingerprint, device, batch_size, workers = ("white",), "w", "cpu", 2, 1

    def classify(self, images):
        return {"white": np.array([float(one.float().mean()) / 255 for one in images], np.float32)}


def read(path, target):
    return list(read_originals([str(path)], CatalogueSettings(), pytest.fail, None, target))


def test_an_animation_is_read_at_the_frame_with_the_highest_score(tmp_path):
    frames = [Image.new("L", (40, 30), level) for level in (0, 90, 250, 130)]
    frames[1].paste(10, (0, 0, 20, 30))
    path = tmp_path / "moving.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=400)
    target = Target(Whiteness(), ModelIdentity("whiteness", "", "0"), "white")
    (original,) = read(path, target)
    assert original.frame == Frame(2, 0.8)
    assert original.name == "moving.png, frame 2 at 0.80 s"
    assert original.folder == f"moving-{original.image_id[:8]}"
    assert (original.image.size, original.image.getpixel((5, 5))) == ((40, 30), (250,) * 3)
    # Without a target it is the frame that a map shows.
    (original,) = read(path, None)
    assert (original.frame, original.name) == (None, "moving.png")
    assert original.image.getpixel((5, 5)) == (10,) * 3
    frames[2].save(tmp_path / "still.png")
    (original,) = read(tmp_path / "still.png", target)
    assert (original.frame, original.name) == (None, "still.png")


def test_the_judged_pixels_are_those_that_the_store_keeps(tmp_path):
    folder, store = tmp_path / "photos", PhotoStore(tmp_path / "store")
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 420, 4), np.uint8)
    photos = [Image.fromarray(noise), Image.fromarray(noise[..., :3]), Image.fromarray(noise[:9])]
    photos[0].save(folder / "alpha.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    photos[1].save(folder / "turned.jpg", exif=turned)
    photos[2].save(folder / "tiny.webp")
    frames = [Image.new("RGB", (500, 340), (level,) * 3) for level in (9, 240, 120)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    images = catalogue_photos(str(folder), store).images
    target = Target(Whiteness(), ModelIdentity("whiteness", "", "0"), "white")
    for uri, image_id, size in zip(
        images.uri, images.image_id, zip(images.width, images.height, strict=True), strict=True
    ):
        (original,) = read(uri, target)
        frame = original.frame
        stored = frame_id(image_id, frame.number) if frame else image_id
        assert original.judged.tobytes() == store.open_working_copy(stored).tobytes()
        assert original.size == original.image.size == size
    assert {Path(uri).name for uri in images.uri} == {file.name for file in folder.iterdir()}


def test_the_image_of_a_huge_file_is_bounded_and_its_size_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "MOST_MAP_PIXELS", 10_000)
    for suffix in ("jpg", "png"):
        path = tmp_path / f"huge.{suffix}"
        Image.linear_gradient("L").resize((400, 100)).save(path)
        (original,) = read(path, None)
        assert (original.image.size, original.size) == ((200, 50), (400, 100))
        assert original.judged.size == (400, 100)


def test_frames_that_cannot_be_read_are_noted(tmp_path):
    frames = [Image.new("L", (40, 30), level) for level in (0, 90, 250)]
    path = tmp_path / "cut.png"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"fdAT") + 8])
    (original,) = read(path, Target(Whiteness(), ModelIdentity("whiteness", "", "0"), "white"))
    assert original.frame.number == 1
    assert original.note == "Only the first 2 of 3 frames could be read."


def test_a_file_that_is_transparent_in_parts_is_told_in_its_figure(tmp_path):
    opaque = Image.new("RGBA", (40, 30), (250, 0, 0, 255))
    opaque.save(tmp_path / "opaque.png")
    opaque.putpixel((3, 4), (250, 0, 0, 254))
    opaque.save(tmp_path / "seen through.png")
    (original,) = read(tmp_path / "opaque.png", None)
    assert original.figure_notes == ()
    (original,) = read(tmp_path / "seen through.png", None)
    (note,) = original.figure_notes
    assert note == "The file is transparent in parts: these were put on a neutral grey."
