"""Running the command line as a person does."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from assets.methods.study.doll_sets import CLASS_NAMES, Design, draw_doll_set
from support.command_line import run_tessera
from support.pages import Checkout, Ran


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory, new_home) -> Iterator[Path]:
    """One home for the tests of a module, to which the environment points."""
    with pytest.MonkeyPatch.context() as patch:
        yield new_home(tmp_path_factory.mktemp("shared") / "home", patch)


@pytest.fixture
def tessera(shared_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Returns a function that runs `tessera ARGUMENTS...`."""

    def run(*arguments: str | Path) -> Ran:
        code = run_tessera(*arguments)
        written = capsys.readouterr()
        return Ran(code, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def labelled_dolls(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Returns a function that makes a folder of dolls and their manifest, with splits."""

    @cache
    def draw(n: int, design: Design) -> Path:
        folder = tmp_path_factory.mktemp("dolls")
        dolls = draw_doll_set(design, n, seed=3)
        names = [f"doll_{number:03}.png" for number in range(n)]
        for name, doll in zip(names, dolls.dolls, strict=True):
            doll.image.save(folder / name)
        # Each split has as many of each kind.
        splits = [("train", "train", "validation", "test")[number // 4 % 4] for number in range(n)]
        labels = [CLASS_NAMES[int(is_positive)] for is_positive in dolls.is_positive]
        table = pd.DataFrame({"uri": names, "label": labels, "split": splits}).join(dolls.slices)
        table.to_csv(folder / "labels.csv", index=False)
        return folder

    def make(n: int, design: Design = "unflawed") -> Path:
        folder = tmp_path_factory.mktemp("dolls")
        return shutil.copytree(draw(n, design), folder, dirs_exist_ok=True) / "labels.csv"

    return make


@pytest.fixture
def checkout(
    tmp_path: Path, photo_folder, labelled_dolls, tessera, monkeypatch: pytest.MonkeyPatch
) -> Checkout:
    """A folder like a checkout, in which the commands of the README and of docs/ are run."""
    monkeypatch.chdir(tmp_path)
    return Checkout(tmp_path, photo_folder(12), labelled_dolls(48), tessera)
