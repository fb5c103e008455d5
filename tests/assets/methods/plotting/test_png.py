import io

import numpy as np
from PIL import Image

from assets.methods.plotting.png import png_bytes

PICTURE = Image.linear_gradient("L").convert("RGB")


def test_a_file_says_what_it_is_about_and_is_the_same_each_time():
    about = {"model": "größer 模型", "class": "nsfw", "threshold": 0.5, "size": {"width": 3}}
    about["path"] = "caf\udce9"
    data = png_bytes(PICTURE, about)
    assert data == png_bytes(PICTURE, about)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(PICTURE))
        assert opened.info == {
            "model": "größer 模型",
            "class": "nsfw",
            "threshold": "0.5",
            "size": '{"width": 3}',
            "path": "caf?",
        }


def test_without_anything_to_say_it_is_the_file_that_pillow_writes():
    plain = io.BytesIO()
    PICTURE.save(plain, "PNG")
    assert png_bytes(PICTURE) == plain.getvalue()
