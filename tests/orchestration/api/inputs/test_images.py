import io

import numpy as np
import pytest
from PIL import Image

from assets.methods.photos.decode import decode, image_id
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import PhotoStore
from orchestration.api.contract import ApiError, Code, ImageData
from orchestration.api.inputs import images
from orchestration.api.inputs.images import (
    ImageError,
    check_sources,
    fetch_limits,
    read_image,
    scored_frames,
    working_copy,
)
from orchestration.api.settings import ServeSettings
from support.image_server import packed, picture, reply, serving

LIMITS = FetchLimits(max_bytes=100_000, timeout_seconds=5, retries=0, allow_private_addresses=True)


def refused(image: ImageData, limits: FetchLimits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(image, limits)
    assert caught.value.detail.endswith(".")
    return caught.value


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_base64_is_unpacked():
    data = picture()
    assert read_image(ImageData(base64=packed(data)), LIMITS) == data
    broken_into_lines = "\n".join(packed(data)[n : n + 76] for n in range(0, len(data) * 2, 76))
    assert read_image(ImageData(base64=f" {broken_into_lines}\r\n"), LIMITS) == data


@pytest.mark.parametrize("text", ["a", "ab$=", "aé==", "====", "data:image/png;base64,aGFsbG8="])
def test_what_is_not_base64_is_refused(text):
    assert refused(ImageData(base64=text)).code == Code.INPUT_UNSUPPORTED


def test_base64_of_too_many_bytes_is_refused_before_it_is_unpacked():
    for n_bytes in (99, 100, 101, 102):
        image = ImageData(base64=packed(b"x" * n_bytes))
        limits = FetchLimits(max_bytes=100)
        if n_bytes <= 100:
            assert read_image(image, limits) == b"x" * n_bytes
        else:
            assert f"{n_bytes} bytes" in refused(image, limits).detail


def test_an_address_is_downloaded():
    with serving({"/a.png": picture()}) as url:
        assert read_image(ImageData(url=f"{url}/a.png"), LIMITS) == picture()
        assert refused(ImageData(url=f"{url}/b.png")).code == Code.INPUT_DOWNLOAD_FAILED


@pytest.mark.parametrize("url", ["http://", "ftp://x/a.png", "file:///etc/hosts", "nonsense"])
def test_an_address_that_cannot_be_downloaded_is_refused(url):
    assert refused(ImageData(url=url)).code == Code.INPUT_DOWNLOAD_FAILED


def test_private_addresses_are_refused_unless_they_are_allowed():
    image = ImageData(url="http://127.0.0.1:1/a.png")
    limits = fetch_limits(ServeSettings())
    assert "not a public address" in refused(image, limits).detail


def test_a_large_download_is_a_failed_one():
    with serving(
        {"/": lambda handler: reply(handler, 200, b"", Content_Length=f"{10**10}")}
    ) as url:
        found = refused(ImageData(url=f"{url}/"))
    assert (found.code, "10,000,000,000" in found.detail) == (Code.INPUT_DOWNLOAD_FAILED, True)


@pytest.mark.parametrize(
    "image", [ImageData(), ImageData(base64="aGFsbG8=", url="http://example.com/a.png")]
)
def test_a_picture_has_one_source(image):
    one = ImageData(base64="")
    check_sources([one, one])
    with pytest.raises(ApiError, match=r"Image 2 of 3 needs either base64 or url") as caught:
        check_sources([one, image, one], Code.INVALID_PREDICTION)
    assert caught.value.code == Code.INVALID_PREDICTION
    with pytest.raises(ApiError, match="Image 1 of 1"):
        read_image(image, LIMITS)


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [
        ((0, 0, 1, 1), (0, 30), (0, 40)),
        ((0.5, 0.25, 1, 0.75), (15, 30), (10, 30)),
        ((0.1, 0.7, 0.2, 0.9), (3, 6), (28, 36)),
        ((0, 0, 1e-9, 1e-9), (0, 1), (0, 1)),
        ((1 - 1e-9, 1 - 1e-9, 1, 1), (29, 30), (39, 40)),
    ],
)
def test_a_crop_is_cut_out(crop, rows, columns):
    data = picture(width=40, height=30)
    cut = read_image(ImageData(base64=packed(data), crop=crop), LIMITS)
    assert np.array_equal(pixels(cut), pixels(data)[slice(*rows), slice(*columns)])
    assert cut == read_image(ImageData(base64=packed(data), crop=crop), LIMITS)


def test_what_cannot_be_decoded_cannot_be_cropped():
    image = ImageData(base64=packed(picture()[:100]), crop=(0, 0, 1, 1))
    assert refused(image).code == Code.INPUT_UNSUPPORTED


def test_the_working_copy_is_the_one_that_is_kept(tmp_path):
    data = picture(width=700, height=500)
    store = PhotoStore(tmp_path)
    with store.records("s") as records:
        records.keep_image(image_id(data), len(data), decode(data, DecodeLimits()))
    kept = store.open_working_copy(image_id(data))
    assert np.array_equal(np.asarray(working_copy(data)), np.asarray(kept))


def test_a_small_picture_has_a_working_copy():
    assert working_copy(picture(width=1, height=2)).size == (1, 2)


@pytest.mark.parametrize("data", [b"", b"hallo", picture()[:100]])
def test_what_cannot_be_decoded_has_no_working_copy(data):
    with pytest.raises(ImageError) as caught:
        working_copy(data)
    assert caught.value.code == Code.INPUT_UNSUPPORTED


def test_the_pixels_of_an_animation_for_a_model_are_limited(monkeypatch):
    frames = [Image.new("RGB", (200, 200), (level, 0, 0)) for level in range(20)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(images, "_MOST_FRAME_PIXELS", 400_000)
    copies, found, note = scored_frames(file.getvalue(), None, 3)
    assert [frame.number for frame in found] == [0, 4, 9]
    assert {copy.size for copy in copies} == {(200, 200)}
    assert note == "Only the first 10 of 20 frames could be read."
