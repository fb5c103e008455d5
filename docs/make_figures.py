"""Draw the figures of the pages in docs/: of scikit-image's astronaut, the demo, and the study.

Run: make figures. It takes about twenty minutes on two cores; after an interruption it goes on.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from assets.methods.models.skin.baseline import find_evidence
from skin_figure import draw_skin_figure

DOCS = Path(__file__).parent
ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
ASTRONAUT_FIGURES = {
    "astronaut-nsfw.jpg": ("explain", "--preset", "figure", "--long-side", "512"),
    "astronaut-helmet.jpg": (
        "explain", "--model", "efficientnet-lite0", "--class", "football helmet",
        "--long-side", "512",
    ),
    "astronaut-deconvnet.jpg": ("deconv", "--layer", "relu_stage3_block2"),
}  # fmt: skip
STUDY_FIGURES = ("study", "dolls")
BENCH_FIGURES = {"pixels.jpg": "bench.mirrors", "costs.jpg": "bench.costs"}


def main() -> None:
    with Image.open(ASTRONAUT) as astronaut:
        photo = astronaut.convert("RGB")
    save(draw_skin_figure(photo, find_evidence(np.asarray(photo))), "astronaut-skin.jpg")
    for name, (command, *options) in ASTRONAUT_FIGURES.items():
        with tempfile.TemporaryDirectory() as folder:
            tessera(command, str(ASTRONAUT), "--out", folder, *options)
            (path,) = Path(folder).glob("astronaut-*/figure.png")
            with Image.open(path) as figure:
                save(figure, name)
    for name, program in BENCH_FIGURES.items():
        run = [sys.executable, "-m", program, "--figure", str(DOCS / name)]
        subprocess.run(run, check=True, cwd=DOCS.parent)
    with tempfile.TemporaryDirectory() as folder:
        tessera("study", "--out", folder)
        for name in STUDY_FIGURES:
            with Image.open(Path(folder, f"{name}.png")) as figure:
                save(figure, f"{name}.jpg")


def tessera(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "orchestration.cli", *arguments], check=True)


def save(figure: Image.Image, name: str) -> None:
    figure.save(DOCS / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
