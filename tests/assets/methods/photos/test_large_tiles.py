from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from assets.methods.layout.mosaic import MosaicSettings, draw_tile, plan_mosaic
from assets.methods.photos import large_tiles
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.decode import decode_scaled
from assets.methods.photos.large_tiles import LargeTiles
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import PhotoStore
from support.photos import encoded

SETTINGS = CatalogueSettings()
LIMITS = DecodeLimits()


@pytest.fixture
def store(tmp_path: Path) -> PhotoStore:
    return PhotoStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def detailed(width: int = 900, height: int = 600, seed: int = 0) -> Image.Image:
    """A picture with detail of about three pixels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 3, width // 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def sharpness(image: Image.Image) -> float:
    """The variance of the Laplacian."""
    grey = np.asarray(image.convert("L"), np.float64)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).var())


def tiles_of(
    store: PhotoStore, source: Path | str, tile: int = 400, *, whole: bool = False
) -> tuple[LargeTiles, dict[str, str]]:
    """The tiles of a source, and the image_ids by the files' names."""
    images = catalogue_photos(str(source), store, SETTINGS).images
    photos = list(zip(images.image_id, images.uri, strict=True))
    ids = {uri.rpartition("/")[2]: image_id for image_id, uri in photos}
    return LargeTiles(store, photos, SETTINGS, tile, whole=whole, finish=Image.Image.copy), ids


@pytest.mark.parametrize("fit", ["fill", "fit"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_large_tile_is_as_sharp_as_its_original(folder, store, fit, image_format):
    picture = detailed(1500, 1200)
    (folder / "a.img").write_bytes(encoded(picture, image_format, quality=95))
    tiles, ids = tiles_of(store, folder, tile=512, whole=fit == "fit")
    plan = plan_mosaic(1, 1, MosaicSettings(tile=512, fit=fit))
    best = sharpness(draw_tile(picture, plan))
    assert sharpness(draw_tile(tiles(ids["a.img"]), plan)) > 0.8 * best
    # What was drawn before.
    assert sharpness(draw_tile(store.open_working_copy(ids["a.img"]), plan)) < 0.5 * best
    assert tiles.unread == {}
    assert tiles.note(1) is None


def test_an_original_is_read_only_where_it_has_more_pixels(folder, store, monkeypatch):
    sizes = {"small.png": (200, 300), "exact.png": (500, 255), "wide.png": (1200, 300)}
    for name, size in sizes.items():
        (folder / name).write_bytes(encoded(detailed(*size)))
    whole, ids = tiles_of(store, folder, whole=True)
    cut, _ = tiles_of(store, folder)
    read = []

    def read_original_file(uri: str, settings: CatalogueSettings, image_id: str) -> bytes:
        read.append((uri.rpartition("/")[2], image_id))
        return Path(uri).read_bytes()

    monkeypatch.setattr(large_tiles, "read_original_file", read_original_file)
    assert {name: cut(image_id).size for name, image_id in ids.items()} == sizes
    assert read == [("wide.png", ids["wide.png"])]
    # Shown whole, its working copy of 1024 x 256 px has enough.
    assert whole(ids["wide.png"]).size == (1024, 256)
    assert len(read) == 1


def test_a_photo_is_decoded_to_twice_the_tile(folder, store):
    (folder / "a.jpg").write_bytes(encoded(detailed(3000, 2400), "JPEG"))
    tiles, ids = tiles_of(store, folder, tile=300)
    assert tiles(ids["a.jpg"]).size == (750, 600)
    tiles, _ = tiles_of(store, folder, tile=400, whole=True)
    assert tiles(ids["a.jpg"]).size == (800, 640)


def test_originals_that_are_gone_or_changed_give_working_copies_and_are_counted(folder, store):
    pictures = [detailed(seed=seed) for seed in range(3)]
    for number, picture in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(encoded(picture))
    tiles, ids = tiles_of(store, folder)
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes(encoded(pictures[0]))
    assert [min(tiles(ids[f"{number}.png"]).size) for number in range(3)] == [256, 256, 600]
    assert set(tiles.unread) == {str(folder / "0.png"), str(folder / "1.png")}
    note = tiles.note(3)
    assert note is not None
    assert note.startswith("2 of 3 tiles are enlarged, because their originals could not be read.")
    assert str(folder / "0.png") in note


def test_another_copy_of_a_photo_takes_its_place(folder, store):
    data = encoded(detailed())
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(data)
    tiles, ids = tiles_of(store, folder)
    (folder / "a.png").unlink()
    assert tiles(ids["b.png"]).size == (900, 600)
    assert tiles.unread == {}


def test_remote_originals_are_read(store):
    files = fsspec.filesystem("memory")
    files.pipe("/large-tiles/a.png", encoded(detailed()))
    try:
        tiles, ids = tiles_of(store, "memory://large-tiles")
        assert tiles(ids["a.png"]).size == (900, 600)
        files.rm("/large-tiles/a.png")
        assert min(tiles(ids["a.png"]).size) == 256
        assert len(tiles.unread) == 1
    finally:
        files.store.clear()


def test_a_tile_of_an_animation_is_the_frame_that_the_map_shows(folder, store):
    frames = [Image.new("RGB", (900, 600), "white"), detailed(seed=1), detailed(seed=2)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    (folder / "a.png").write_bytes(data)
    tiles, ids = tiles_of(store, folder)
    assert tiles(ids["a.png"]).tobytes() == frames[1].tobytes()


def test_an_upright_photo_is_turned_and_has_the_colours_of_its_working_copy(folder, store):
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "a.jpg").write_bytes(encoded(detailed(), "JPEG", quality=95, exif=exif))
    tiles, ids = tiles_of(store, folder)
    large, copy = tiles(ids["a.jpg"]), store.open_working_copy(ids["a.jpg"])
    assert large.size == (600, 900)
    small = ImageOps.fit(large, copy.size)
    assert np.abs(np.asarray(small, float) - np.asarray(copy, float)).mean() < 8


def test_decoding_to_a_size_never_enlarges():
    data = encoded(detailed(90, 60))
    assert decode_scaled(data, LIMITS, 1000).size == (90, 60)
    assert decode_scaled(data, LIMITS, 30).size == (45, 30)
    assert decode_scaled(data, LIMITS, 30, longer=True).size == (30, 20)


def test_limits_hold_for_originals_as_well(folder, store):
    (folder / "a.png").write_bytes(encoded(detailed()))
    _, ids = tiles_of(store, folder)
    limited = replace(SETTINGS, decode=DecodeLimits(max_pixels=1000))
    tiles = LargeTiles(
        store,
        [(ids["a.png"], str(folder / "a.png"))],
        limited,
        400,
        whole=False,
        finish=Image.Image.copy,
    )
    assert min(tiles(ids["a.png"]).size) == 256
    assert "at most 1,000 pixels" in tiles.unread[str(folder / "a.png")]


def test_the_note_on_originals_shows_no_secret_and_no_control_character(folder, store):
    (folder / "a.png").write_bytes(encoded(detailed()))
    address = "memory://gone\x1b]0;x/a.png?token=s3cr3t"
    (image_id,) = catalogue_photos(str(folder), store, CatalogueSettings()).images.image_id
    tiles = LargeTiles(
        store, [(image_id, address)], CatalogueSettings(), 300, whole=False, finish=lambda one: one
    )
    assert min(tiles(image_id).size) == 256
    note = tiles.note(1) or ""
    assert note.startswith("1 of 1 tiles")
    assert "s3cr3t" not in note
    assert "\x1b" not in note
