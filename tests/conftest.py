"""What all tests share: a home of their own, the order of the files, and a guard over processes."""

import multiprocessing.process
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from assets.resources import mlflow_database
from assets.resources.tracking import Tracking
from orchestration.instance import open_instance, prepare_home
from support.homes import point_to

# The machine is shared: an example may take its time, and CI looks at the same ones each time.
settings.register_profile("tessera", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tessera")

# Whatever a shell starts in the background ignores SIGINT, and so do the processes that it starts.
# Dagster then lets SIGTERM be ignored as well, and those that copy the log of a run would not end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` gives each file to one worker, in this order; the longest file must not come last.
LONGEST_FIRST = (
    "e2e/test_dev.py",
    "e2e/test_serve.py",
    "e2e/test_pages.py",
    "e2e/test_map.py",
    "e2e/test_readme.py",
    "e2e/test_explain.py",
    "e2e/test_train.py",
    "e2e/test_serve_hostile.py",
    "e2e/test_terminal.py",
    "e2e/test_evaluate.py",
    "e2e/test_serve_isolation.py",
    "e2e/test_serve_urls.py",
    "orchestration/test_queue_processes.py",
    "bench/test_gpu_run.py",
    "e2e/test_determinism.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, and then with all that run the command line."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    folder = Path(__file__).parent

    def rank(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.relative_to(folder).as_posix() if folder in item.path.parents else ""
        return ranks.get(name, len(ranks)), not name.startswith("e2e/")

    items.sort(key=rank)


# SQLite waits for the disk at every commit, and most tests commit all the time.
MEMORY = Path("/dev/shm")
ROOM_IN_MEMORY = 4 * 2**30


def pytest_configure() -> None:
    """Keep the folders of the tests in memory where there is room for them."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_IN_MEMORY:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Libraries start these, once in a process, to ask what machine and which commit they run on.
PROBES = {"gcc", "git", "ldconfig", "lscpu", "uname"}
# Whether the test that is running may start a process.
_processes_are_allowed = True


def _guarded(start: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(start)
    def guarded(*arguments: Any, **options: Any) -> Any:
        # A Popen comes before its command.
        command = arguments[1] if len(arguments) > 1 else options.get("args")
        is_probe = isinstance(command, list) and Path(command[0]).name in PROBES
        if not (_processes_are_allowed or is_probe):
            pytest.fail("This test starts a process: mark it with `process`.")
        return start(*arguments, **options)

    return guarded


for _owner, _name in (
    (subprocess.Popen, "__init__"),
    (multiprocessing.process.BaseProcess, "start"),
    (os, "fork"),
    (os, "posix_spawn"),
):
    setattr(_owner, _name, _guarded(getattr(_owner, _name)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let only the tests with the marker `process`, and those of e2e, start processes."""
    global _processes_are_allowed
    _processes_are_allowed = "e2e" in item.path.parts or bool(item.get_closest_marker("process"))
    try:
        return (yield)
    finally:
        _processes_are_allowed = True


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with Dagster's and MLflow's databases, to copy: making them takes seconds.

    It is made once for all workers of pytest-xdist.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    template = place / "home_template"
    with FileLock(place / "home_template.lock"), pytest.MonkeyPatch.context() as patch:
        if not template.exists():
            unfinished = place / "unfinished_home_template"
            point_to(unfinished, patch)
            with open_instance() as instance:
                assert instance.get_runs() == []
                assert instance.all_asset_keys() == []
            assert Tracking(home=str(unfinished)).client.search_registered_models() == []
            (unfinished / "dagster.yaml").unlink()
            unfinished.rename(template)
    return template


@pytest.fixture(scope="session")
def new_home(home_template: Path) -> Callable[[Path, pytest.MonkeyPatch], Path]:
    """Returns a function that makes a home without runs, and points the environment to it."""

    def make(home: Path, patch: pytest.MonkeyPatch) -> Path:
        shutil.copytree(home_template, home)
        point_to(home, patch)
        return prepare_home()

    return make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_home) -> Path:
    """A home without runs, to which Dagster's and Tessera's environment points."""
    return new_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def made_at_once(monkeypatch: pytest.MonkeyPatch, home_template: Path) -> None:
    """Spares the seconds in which MLflow makes a database."""

    def copy(database: Path) -> None:
        shutil.copyfile(home_template / "mlflow.db", database)

    monkeypatch.setattr(mlflow_database, "_let_mlflow_make", copy)


@pytest.fixture
def instance(home: Path):
    """The Dagster instance below the home."""
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def photo_folder(tmp_path: Path):
    """Returns a function that makes a folder of so many distinct photos, in groups of colour."""

    def make(n: int, name: str = "photos") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(n):
            hue = number * 67 % 256
            photo = Image.linear_gradient("L").rotate(number * 13).resize((64, 48))
            tint = Image.new("L", photo.size, hue)
            Image.merge("HSV", (tint, photo, photo.point(lambda v: 255 - v // 2))).convert(
                "RGB"
            ).save(folder / f"photo_{number:03}.png")
        return folder

    return make
