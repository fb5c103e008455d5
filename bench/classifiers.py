"""OpenNSFW in torch beside onnxruntime, in one run: images a second, and how far scores differ.

Run: python bench/classifiers.py [FOLDER of photographs [how many]]; without a folder it takes the
photographs of scikit-image. It needs onnxruntime. The exit code is 1 when the largest difference of
P(nsfw) is above 1e-4.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import skimage
import torch
from PIL import Image

from assets.methods.common.devices import ComputePlan
from assets.methods.models import open_nsfw
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.preprocessing import preprocess
from assets.methods.models.torch_classifier import TorchClassifier

TOLERANCE = 1e-4
SUFFIXES = {".jpg", ".jpeg", ".png"}


def read_photos(folder: Path, at_most: int) -> list[Image.Image]:
    """Read photographs, evenly spread over the folder's names."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    spread = np.linspace(0, len(files) - 1, min(at_most, len(files))).astype(int)
    photos = []
    for file in (files[place] for place in spread):
        with Image.open(file) as image:
            photos.append(image.convert("RGB"))
    return photos


def torch_scores(classifier: TorchClassifier, photos: list[Image.Image]) -> np.ndarray:
    tensors = [torch.from_numpy(np.array(photo)).permute(2, 0, 1) for photo in photos]
    size = classifier.batch_size
    batches = [tensors[start : start + size] for start in range(0, len(tensors), size)]
    with unsplit_pool(classifier.workers) as pool:
        return np.concatenate([part["nsfw"] for part in pool.map(classifier.classify, batches)])


def onnx_session(threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(open_nsfw.packaged_file()), options, providers=["CPUExecutionProvider"]
    )


def onnx_scores(
    session: onnxruntime.InferenceSession, photos: list[Image.Image], batch_size: int
) -> np.ndarray:
    inputs = [preprocess(photo, open_nsfw.PREPROCESSING) for photo in photos]
    batches = [inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size)]
    return np.concatenate(
        [session.run(None, {"input:0": np.stack(batch)})[0][:, 1] for batch in batches]
    )


def timed(score: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the scores and the seconds of the faster of two runs, after one to warm up."""
    score()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        scores = score()
        seconds.append(time.perf_counter() - started)
    return scores, min(seconds)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(skimage.__file__).parent / "data"
    photos = read_photos(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 50)
    threads = os.cpu_count() or 1
    session = onnx_session(threads)
    largest = 0.0
    print(f"{len(photos)} photographs, {threads} threads; both scale the photographs with Pillow")
    print(
        f"{'':>12} {'batch':>6} {'images/s':>9}   largest difference of P(nsfw) from onnxruntime's"
    )
    expected = onnx_scores(session, photos, 1)
    for batch_size in (1, 4, 8):
        _, seconds = timed(partial(onnx_scores, session, photos, batch_size))
        print(f"{'onnxruntime':>12} {batch_size:>6} {len(photos) / seconds:>9.1f}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        path = convert_open_nsfw(Path(home))
        for batch_size in (1, 4, 8):
            plan = ComputePlan("cpu", batch_size, "float32", threads)
            classifier = load_classifier(path, plan)
            scores, seconds = timed(partial(torch_scores, classifier, photos))
            difference = float(np.abs(scores - expected).max())
            largest = max(largest, difference)
            rate = len(photos) / seconds
            print(f"{'torch':>12} {batch_size:>6} {rate:>9.1f}   {difference:.1e}", flush=True)
    print(
        f"scores from {expected.min():.5f} to {expected.max():.5f}; "
        f"largest difference {largest:.1e}, allowed {TOLERANCE:.0e}"
    )
    return int(largest > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
