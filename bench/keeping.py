"""Thirty nights of a collection that changes, with `tessera gc` after each: how large is the home?

Each night some photos go and others come; every third night nothing changes. In the first night a
second version of the model becomes the champion. Prints a row a night, whether `tessera gc
--dry-run` named what was then removed, and at the end whether the first version of the model is
still there: whether it scores as in the first night, and can be promoted.
Run: python -m bench.keeping --nights 30 --keep 7
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from assets.methods.models.classifier_file import describe_classifier, save_classifier
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.resources.tracking import Tracking
from bench.kills.tally import draw_photos
from bench.one_score import tessera

N_PHOTOS, N_CHANGED = 64, 6
MEGABYTE = 2**20
CACHES = ("photos", "vectors", "points", "probabilities", "windows", "recent")
NAME = "nightly"


def sizes(home: Path) -> dict[str, float]:
    """Return the MB of the parts of a home, each file counted once whatever names it has."""
    seen, found = set[tuple[int, int]](), dict[str, float]()
    for file in sorted(home.rglob("*")):
        state = file.lstat()
        if not file.is_file() or file.is_symlink() or (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        part = file.relative_to(home).parts[0]
        part = "caches" if part in CACHES else part
        part = "mlflow.db" if part.startswith("mlflow.db") else part
        found[part] = found.get(part, 0.0) + state.st_size / MEGABYTE
    return found


def run(place: Path, nights: int, keep: int, with_gc: bool) -> bool:
    """Carry out the nights; return whether all was as it should be."""
    home, photos = place / "home", place / "photos"
    os.environ["TESSERA_HOME"] = str(home)
    draw_photos(photos, range(N_PHOTOS))
    is_right, next_number = True, N_PHOTOS
    parts = ("outputs", "mlflow-artifacts", "mlflow.db", "history", "caches", "models")
    print("night  photos  changed  removed  home MB  " + "  ".join(parts), flush=True)
    for night in range(1, nights + 1):
        n_changed = 0 if night == 1 or night % 3 == 0 else N_CHANGED
        for old in sorted(photos.iterdir())[:n_changed]:
            old.unlink()
        draw_photos(photos, range(next_number, next_number + n_changed))
        next_number += n_changed
        tessera("map", str(photos), "--name", NAME, "--out", str(place / "map"))
        if night == 1:
            tessera("score", str(photos), "--name", NAME, "--out", str(place / "scores.csv"))
            register_another(home)
            first_scores = scores_of_first_version(place)
        n_removed = 0
        if with_gc:
            told = tessera("gc", "--keep", str(keep), "--dry-run")
            removed = tessera("gc", "--keep", str(keep))
            n_removed = len(removed.splitlines())
            is_right &= told == removed
            if told != removed:
                print(f"  the dry run named {len(told.splitlines())} and not {n_removed}")
        found = sizes(home)
        row = "  ".join(f"{found.get(part, 0.0):{len(part)}.1f}" for part in parts)
        print(
            f"{night:5}  {len(list(photos.iterdir())):6}  {n_changed:7}  {n_removed:7}  "
            f"{sum(found.values()):7.1f}  {row}",
            flush=True,
        )
    for file in (home / "models").glob("*.safetensors"):
        # Versions are loaded anew from MLflow, and asked anew.
        file.unlink()
    shutil.rmtree(home / "probabilities")
    has_same_scores = scores_of_first_version(place) == first_scores
    print(f"the first of two versions scores as in the first night: {has_same_scores}")
    told = tessera("promote", "1")
    print(told.splitlines()[0])
    return is_right & has_same_scores & told.startswith("version 1 is champion")


def register_another(home: Path) -> None:
    """Make a model that differs a little from the packaged one the champion, as version 2."""
    from safetensors.torch import load_file

    models = Models(home, Tracking(home=str(home)))
    champion = models.champion().weights
    weights, described = load_file(champion), describe_classifier(champion)
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "other.safetensors")
        parts = described.architecture, described.class_names, described.preprocessing
        changed = {**weights, name: weights[name] * (1 + 1e-5)}
        # So small a change that its known answers are the same.
        save_classifier(other, changed, *parts, described.reference_scores)
        version = models.registry.register(other, CHAMPION).version
    print(f"version {version} is champion from the first night on", flush=True)


def scores_of_first_version(place: Path) -> tuple[float, int]:
    """Return what the first version says of a photo that never changes, and its number."""
    if not (place / "fixed").exists():
        draw_photos(place / "fixed", [0])
    out = place / "first.csv"
    given = ("--model", "models:/nsfw/1", "--name", "fixed", "--out", str(out))
    tessera("score", str(place / "fixed"), *given)
    table = pd.read_csv(out)
    return float(table.score[0]), int(table.model_version[0])


def unchanged(place: Path, times: int = 4) -> None:
    """Print what each run adds to a home in which nothing has changed."""
    added, before = [], sum(sizes(place / "home").values())
    for _ in range(times):
        tessera("map", str(place / "photos"), "--name", NAME, "--out", str(place / "map"))
        after = sum(sizes(place / "home").values())
        added.append(f"{(after - before) * 1024:,.0f}")
        before = after
    print(f"runs in which nothing changed added {', '.join(added)} KB")


def main() -> int:
    """Print the table; end with 1 if something was not as it should be."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--keep", type=int, default=7, help="As `tessera gc --keep`.")
    parser.add_argument("--without-gc", action="store_true")
    given = parser.parse_args()
    begun = time.monotonic()
    place = Path(tempfile.mkdtemp())
    try:
        is_right = run(place, given.nights, given.keep, not given.without_gc)
        unchanged(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{time.monotonic() - begun:,.0f} s; all as it should be: {is_right}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
