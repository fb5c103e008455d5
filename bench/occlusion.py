"""Seconds a window of `hidden`, and captum's Occlusion beside it as the peer, in one run.

captum gets the same module and the same preprocessing, torch's own number of threads, and the
`perturbations_per_eval` that suits it best. The contestants take turns, and the best turn of each
counts. It exits with 1 when captum's best is quicker, or the maps differ by more than 1e-5.
Run: python bench/occlusion.py [rounds]

With --levels, how far the map of each level is from the exact one, on packaged photographs of
224 px with the windows of the preset `figure`. FOLDER keeps the scores of windows: a call that is
killed goes on from them.
Run: python bench/occlusion.py --levels FOLDER [PHOTOGRAPH...]
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from captum.attr import Occlusion
from PIL import Image
from skimage import data
from skimage.metrics import structural_similarity

from assets.methods.attribution.levels import Level, levels_of
from assets.methods.attribution.occlusion import (
    PRESETS,
    OcclusionMap,
    OcclusionSettings,
    occlusion_map,
)
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputePlan, ComputeSettings, plan_compute
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.preprocessing import preprocess_batch
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE, TorchClassifier

# The windows of both are the same: 512 - 64 is a multiple of 32.
GRID = OcclusionSettings(box=64, stride=32)
CLASS_NAME = "nsfw"
PERTURBATIONS = (1, 2, 4, 8, 16, 32)
FIGURE = OcclusionSettings(*PRESETS["figure"])
SIDE = 224
# Asked of the finest level that has at most a tenth of the windows.
MOST_WINDOWS, LEAST_SIMILARITY = 0.1, 0.95
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina")

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


def square(name: str) -> Image.Image:
    """Return the middle square of a photograph of scikit-image at ``SIDE`` px."""
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    side = min(image.size)
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.crop((left, upper, left + side, upper + side))
    return cropped.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def compare_levels(folder: Path, names: Sequence[str]) -> int:
    """Print a table of levels; return 1 if maps of a tenth of the windows are too far."""
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    classifier, store, is_near = open_nsfw(plan), WindowScoreStore(folder), True
    print(
        f"windows of {FIGURE.box} px every {FIGURE.stride} px, errors as shares of the map's range"
    )
    print(f"{'':<18} {'windows':>8} {'SSIM':>7} {'mean':>7} {'estimated':>10} {'largest':>8}")
    for name in names:
        maps = occlusion_maps(WindowedImage(square(name), FIGURE), classifier, CLASS_NAME, store)
        for experiment, exact in maps.items():
            print(
                f"{name}, {experiment}: from {exact.values.min():.4f} to {exact.values.max():.4f}"
            )
            levels = levels_of(exact.windows, FIGURE.stride)[:-1]
            measured = [compare_level(exact, level) for level in levels]
            of_few = [similarity for share, similarity in measured if share <= MOST_WINDOWS]
            is_near &= of_few[-1] >= LEAST_SIMILARITY
    return 0 if is_near else 1


def compare_level(exact: OcclusionMap, level: Level) -> tuple[float, float]:
    """Print how far the map of a level is; return its share of the windows, and its SSIM."""
    found = occlusion_map(
        exact.experiment, exact.windows, exact.scores, exact.values.shape[::-1], 0, level
    )
    # In float32, SSIM is lost in the rounding of a map that spans little.
    low, spread = float(exact.values.min()), float(np.ptp(exact.values))
    estimate, whole = ((one.values.astype(float) - low) / spread for one in (found, exact))
    errors = np.abs(estimate - whole)
    share = found.n_scored / exact.windows.count
    similarity = structural_similarity(estimate, whole, data_range=1)
    print(
        f"{'':<18} {share:>8.1%} {similarity:>7.3f} {errors.mean():>7.4f} {found.error:>10.4f} "
        f"{errors.max():>8.3f}"
    )
    return share, similarity


def open_nsfw(plan: ComputePlan) -> TorchClassifier:
    """Return OpenNSFW."""
    with tempfile.TemporaryDirectory() as folder:
        return load_classifier(convert_open_nsfw(Path(folder)), plan)


def main() -> int:
    if sys.argv[1:2] == ["--levels"]:
        return compare_levels(Path(sys.argv[2]), sys.argv[3:] or PHOTOGRAPHS)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    image = Image.fromarray(data.astronaut())
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    classifier = open_nsfw(plan)
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
