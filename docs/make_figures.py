"""Draws the figures of what-the-network-looks-at.md anew, from scikit-image's astronaut.

Run: make figures. It takes about a quarter of an hour on two cores; interrupted, it goes on.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image

DOCS = Path(__file__).parent
ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
FIGURES = {
    "astronaut-nsfw.jpg": ("--preset", "figure"),
    "astronaut-helmet.jpg": ("--model", "efficientnet-lite0", "--class", "football helmet"),
}


def main() -> None:
    for name, options in FIGURES.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "orchestration.cli", "explain", str(ASTRONAUT)]
            subprocess.run([*command, "--out", folder, *options], check=True)
            with Image.open(Path(folder, "astronaut", "figure.png")) as figure:
                figure.save(DOCS / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
