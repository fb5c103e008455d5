"""What `tessera train` and `promote` say of swapped labels, a missing class and a bad champion.

Run: python bench/swapped_labels.py. It draws 96 paper dolls, works in a home of its own, takes some
five minutes on two cores, and prints the commands and their words. The exit code is 1 when another
version is champion than should be.
"""

import io
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from assets.methods.study.doll_sets import CLASS_NAMES, draw_doll_set
from assets.resources.registry import CHAMPION, MODEL
from assets.resources.tracking import Tracking
from orchestration.cli.main import main as tessera

N = 96
OTHER = dict(zip(CLASS_NAMES, reversed(CLASS_NAMES), strict=True))
OPTIONS = ("--epochs", "40", "--learning-rate", "0.05", "--threads", "2")
ANIMALS = "--negative indoors --positive animal"
# Lines that the reader of this output does not need.
LEFT_OUT = ("Done in", "Evaluated in", "  --model", "Trained for", "  /")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        os.environ |= {"TESSERA_HOME": str(home), "DAGSTER_HOME": str(home)}
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        os.chdir(folder)
        # Bars of progress go to the standard error of the process, and messages to sys.stderr.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _write_manifests(Path(folder))
        return int(not all(_steps()))


def _steps() -> list[bool]:
    """Run the commands in turn; return whether the right version was champion after each."""
    return [
        _step("Right labels", 2, "train right.csv"),
        _step("All labels swapped", 2, "train swapped.csv"),
        _step("Labels of train and validation swapped", 2, "train learned.csv --seed 1"),
        _step("Labels of test swapped", 2, "train tested.csv --seed 1"),
        _step("Labels of half of the photos swapped", 2, "train half.csv"),
        _step("Labels of one of two sources swapped", 2, "train source.csv"),
        _step("Classes that no model knew", 2, f"train animals.csv {ANIMALS}"),
        _step("A missing class", 2, "promote 8"),
        _step("A missing class, forced", 8, "promote 8 --force"),
        _step("The way back", 2, "promote 2 --force"),
        _step("A person promotes the version of swapped labels", 3, "promote 3"),
        _step("A champion below chance", 3, "train right.csv --seed 2"),
        _step("A model below chance is evaluated", 3, "evaluate right.csv --out evaluated"),
        _step("A person promotes the better one", 9, "promote 9"),
    ]


def _step(what: str, champion: int, line: str) -> bool:
    """Run a command, print its words, and return whether version ``champion`` is champion then."""
    print(f"\n## {what}\n\n$ tessera {line}", flush=True)
    options = OPTIONS if line.startswith("train") else ()
    sys.argv = ["tessera", *line.split(), *options]
    told = io.StringIO()
    with suppress(SystemExit), redirect_stdout(told), redirect_stderr(told):
        tessera()
    lines = [one for one in told.getvalue().splitlines() if not one.startswith(LEFT_OUT)]
    print("\n".join(lines))
    version = Tracking(home=os.environ["TESSERA_HOME"]).client.get_model_version_by_alias(
        MODEL, CHAMPION
    )
    is_right = int(version.version) == champion
    print(
        f"-> the champion is version {version.version}{'' if is_right else ': WRONG'}", flush=True
    )
    return is_right


def _write_manifests(folder: Path) -> None:
    """Draw the dolls, and write a manifest for each way of labelling them."""
    dolls = draw_doll_set("unflawed", N, seed=3)
    names = [f"doll_{number:03}.png" for number in range(N)]
    for name, doll in zip(names, dolls.dolls, strict=True):
        doll.image.save(folder / name)
    # Each split and each source has as many dolls of each kind.
    places = np.arange(N) // 4
    right = pd.DataFrame(
        {
            "uri": names,
            "label": [CLASS_NAMES[int(is_positive)] for is_positive in dolls.is_positive],
            "split": np.array(["train", "train", "validation", "test"])[places % 4],
            "source": np.array(["studio", "agency"])[places // 4 % 2],
        }
    )
    swapped = {
        "right": np.zeros(N, bool),
        "swapped": np.ones(N, bool),
        "learned": (right.split != "test").to_numpy(),
        "tested": (right.split == "test").to_numpy(),
        # Half of the dolls of each split and source: those with red lips or the others.
        "half": (places // 8 + np.arange(N) % 4 // 2) % 2 == 1,
        "source": (right.source == "agency").to_numpy(),
    }
    for name, is_swapped in swapped.items():
        labels = right.label.mask(is_swapped, right.label.map(OTHER))
        right.assign(label=labels).to_csv(folder / f"{name}.csv", index=False)
    animals = right.label.map({"sfw": "indoors", "nsfw": "animal"})
    right.assign(label=animals).to_csv(folder / "animals.csv", index=False)


if __name__ == "__main__":
    sys.exit(main())
