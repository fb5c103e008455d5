"""`tessera explain` of ten photos against `tessera serve` on loopback, beside the local model.

The photos have 0.1 to 24 megapixels and are PNG and JPEG in turn. For each it prints the seconds of
both ways, and the largest difference of their scores and of any pixel of their maps. It exits with
1 if a call is refused, or a difference is above 1e-6.
Run: python -m bench.explained_by_service [options of explain]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from bench.serving import running_service

MEGAPIXELS = (0.1, 0.3, 0.6, 1, 2, 4, 8, 12, 16, 24)
LARGEST_DIFFERENCE = 1e-6


def write_photos(folder: Path, megapixels: list[float]) -> list[Path]:
    """Write photos of these sizes, enlarged or scaled down from photographs of scikit-image."""
    sources = [Image.fromarray(one()) for one in (data.astronaut, data.coffee, data.rocket)]
    written = []
    for number, size in enumerate(megapixels):
        source = sources[number % len(sources)]
        scale = (size * 1e6 / (source.width * source.height)) ** 0.5
        photo = source.resize((round(scale * source.width), round(scale * source.height)))
        ending = ("png", "jpg")[number % 2]
        written.append(folder / f"{number:02}-{size:g}-megapixels.{ending}")
        photo.save(written[-1], quality=95)
    return written


def explain(photo: Path, out: Path, home: Path, options: list[str]) -> float:
    """Run the command; return its seconds, without those of the import of the program."""
    program = (
        "import sys, time; from orchestration.cli.main import main; "
        "import torch, mlflow, httpx; begun = time.monotonic()\n"
        "try: main()\n"
        "finally: print('seconds', time.monotonic() - begun)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "explain", str(photo), "--out", str(out), *options],
        env={**os.environ, "TESSERA_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{photo.name}: {ran.stderr}")
    return float(ran.stdout.rpartition("seconds ")[2])


def result_of(out: Path) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the report and the maps of the one photo that was explained."""
    (folder,) = (one for one in out.iterdir() if one.is_dir())
    report = json.loads((folder / "report.json").read_text())
    maps = {one: np.load(folder / f"{one}.npy") for one in ("seen", "hidden")}
    return report, maps


def main() -> None:
    """Explain each photo in both ways, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=len(MEGAPIXELS), help="how many of the ten")
    chosen, options = parser.parse_known_args()
    largest = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        step = max(1, len(MEGAPIXELS) // chosen.photos)
        photos = write_photos(folder, list(MEGAPIXELS[::-1][::step][: chosen.photos][::-1]))
        with running_service(folder / "served") as port:
            url = f"http://127.0.0.1:{port}/v2/models/nsfw/outputs"
            print("photo | score | local, s | service, s | score differs | maps differ")
            for photo in photos:
                local, remote = (folder / f"{photo.stem}-{one}" for one in ("local", "remote"))
                seconds = explain(photo, local, folder / "home", options)
                asked = explain(photo, remote, folder / "home", [*options, "--model", url])
                (report, maps), (other, others) = result_of(local), result_of(remote)
                by_score = abs(report["score"] - other["score"])
                by_pixel = max(float(np.abs(maps[one] - others[one]).max()) for one in maps)
                largest = max(largest, by_score, by_pixel)
                print(
                    f"{photo.name} | {report['score']:.4f} | {seconds:.1f} | {asked:.1f} | "
                    f"{by_score:.1e} | {by_pixel:.1e}",
                    flush=True,
                )
    print(f"largest difference {largest:.1e} (at most {LARGEST_DIFFERENCE:g})")
    sys.exit(largest > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    main()
