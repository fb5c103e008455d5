import numpy as np
import onnxruntime
import pytest
from PIL import Image

from assets.methods.models import open_nsfw
from assets.methods.models.preprocessing import preprocess
from assets.methods.models.reference_images import OPEN_NSFW_SCORES, reference_images


def test_three_photographs_come_with_scikit_image():
    images = reference_images()
    assert {name: image.shape for name, image in images.items()} == {
        "astronaut": (512, 512, 3),
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
    }
    assert all(image.dtype == np.uint8 for image in images.values())


def test_the_known_answers_are_those_of_onnxruntime():
    session = onnxruntime.InferenceSession(
        str(open_nsfw.packaged_file()), providers=["CPUExecutionProvider"]
    )
    for name, image in reference_images().items():
        inputs = preprocess(Image.fromarray(image), open_nsfw.PREPROCESSING)[None]
        (probabilities,) = session.run(None, {"input:0": inputs})
        assert probabilities[0, 1] == pytest.approx(OPEN_NSFW_SCORES[name], rel=1e-4)
