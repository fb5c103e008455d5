"""Running the command line as a person does, in this process where a new one adds nothing."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration import cli
from orchestration.instance import prepare_home


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for the tests of a module: a new one costs seconds of MLflow's migrations."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_HOME", str(folder))
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield prepare_home()


@pytest.fixture
def tessera(
    shared_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Returns a function that runs `tessera ARGUMENTS...`."""

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tessera", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        written = capsys.readouterr()
        return Ran(code, written.out, written.err)

    return run
