"""Seconds a window of `hidden`, and captum's Occlusion beside it as the peer, in one run.

captum gets the same module and the same preprocessing, torch's own number of threads, and the
`perturbations_per_eval` that suits it best. The contestants take turns, and the best turn of each
counts. It exits with 1 when captum's best is quicker, or the maps differ by more than 1e-5.
Run: python bench/occlusion.py [rounds]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from captum.attr import Occlusion
from PIL import Image
from skimage import data

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.preprocessing import preprocess_batch
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE, TorchClassifier

# The windows of both are the same: 512 - 64 is a multiple of 32.
GRID = OcclusionSettings(box=64, stride=32)
CLASS_NAME = "nsfw"
PERTURBATIONS = (1, 2, 4, 8, 16, 32)

Contestant = Callable[[], np.ndarray]


def ours(image: Image.Image, classifier: TorchClassifier) -> np.ndarray:
    """Return the map `hidden`, having stored its scores in a folder that is new."""
    with tempfile.TemporaryDirectory() as folder:
        store = WindowScoreStore(Path(folder))
        windowed = WindowedImage(image, GRID)
        return occlusion_maps(windowed, classifier, CLASS_NAME, store, ["hidden"])["hidden"].values


def captums(image: Image.Image, classifier: TorchClassifier, perturbations: int) -> np.ndarray:
    """Return 1 - f(x) + attribution, which is the same map."""
    target = classifier.class_names.index(CLASS_NAME)

    def forward(pictures: torch.Tensor) -> torch.Tensor:
        read = preprocess_batch(pictures.to(torch.uint8), classifier.preprocessing)
        return classifier.module(read).softmax(dim=1)[:, target]

    pictures = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        attribution = Occlusion(forward).attribute(
            pictures,
            sliding_window_shapes=(3, GRID.box, GRID.box),
            strides=(3, GRID.stride, GRID.stride),
            baselines=0,
            perturbations_per_eval=perturbations,
        )
        return (1 - forward(pictures) + attribution[0, 0]).numpy()


def take_turns(contestants: dict[str, Contestant], rounds: int, best: dict[str, float]) -> None:
    """Let each have a turn ``rounds`` times, and note its best seconds."""
    for _ in range(rounds):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            contestant()
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - started)


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    image = Image.fromarray(data.astronaut())
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        classifier = load_classifier(convert_open_nsfw(Path(folder)), plan)
    peers: dict[str, Contestant] = {
        f"captum, {number} at a time": partial(captums, image, classifier, number)
        for number in PERTURBATIONS
    }
    mine: dict[str, Contestant] = {"ours": partial(ours, image, classifier)}
    difference = np.abs(mine["ours"]() - next(iter(peers.values()))()).max()

    best: dict[str, float] = {}
    take_turns(peers, 1, best)
    # captum as it comes, and the two that it may do best with.
    default, *_ = peers
    finalists = {default, *sorted(peers, key=lambda name: best[name])[:2]}
    take_turns(mine | {name: peers[name] for name in peers if name in finalists}, rounds, best)

    windows = WindowedImage(image, GRID).windows.count
    print(f"{windows} windows of {GRID.box} px on {image.width} x {image.height} px, {plan}")
    print(f"largest difference of the maps: {difference:.1e}")
    print(f"{'':<24} {'ms a window':>12} {'times ours':>11}")
    for name, seconds in best.items():
        print(f"{name:<24} {1000 * seconds / windows:>12.2f} {seconds / best['ours']:>11.2f}")
    return 1 if min(best, key=lambda name: best[name]) != "ours" or difference > 1e-5 else 0


if __name__ == "__main__":
    sys.exit(main())
