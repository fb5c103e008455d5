"""Collects what a machine with a card, Python and PyTorch, but no network, lacks to run us.

It fills a folder with wheels, in parts of a limited size that can be carried one by one: the
packages that we depend on, in the versions that are installed here, but for those that such a
machine has (present.txt) and those that the run never imports (unneeded.txt); our own; and lapjv,
which has no wheel, built for the other machine's Python. Part 1 is enough for `assets.methods`.
It needs the environment of `make lint`. Run: python -m bench.gpu.collect [FOLDER] [--help]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
OURS = "tessera-photo-map"
WITHOUT_WHEEL = "lapjv"
# These and what they need come after all that the methods need.
FRAMEWORKS = (
    "dagster",
    "mlflow",
    "fastapi",
    "fastapi-offline",
    "limits",
    "uvicorn",
    "pillow",
    "pandas",
)
# The newest manylinux tags that machines of these years accept; pip matches each by its name.
_GLIBC = (17, 24, 27, 28, 31, 34, 35)

# Maps the name of a package to its version and its requirements, as its metadata has them.
Metadata = Callable[[str], tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Closure:
    """The packages that a package needs: names with versions, and the names that are left out."""

    versions: dict[str, str]
    left_out: frozenset[str]


@dataclass(frozen=True)
class Part:
    """Wheels that are carried together."""

    number: int
    wheels: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        """The size of all wheels."""
        return sum(wheel.stat().st_size for wheel in self.wheels)


def closure(roots: Iterable[str], python: str, left_out: frozenset[str], read: Metadata) -> Closure:
    """Return all packages that ``roots`` need under a Python on x86-64 Linux.

    Args:
        roots: requirements, such as "uvicorn[standard]".
        python: its version, such as "3.12".
        left_out: canonical names that are not carried, nor what only they need.
        read: the metadata of a package.
    """
    versions: dict[str, str] = {}
    met: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if name in left_out or name.startswith("nvidia-"):
            met.add(name)
        elif (name, extras) not in seen:
            seen.add((name, extras))
            versions[name], requires = read(name)
            needed = (Requirement(one) for one in requires)
            waiting.extend(one for one in needed if _applies(one, extras, python))
    return Closure(dict(sorted(versions.items())), frozenset(met))


def in_parts(wheels: Sequence[Path], limit: int) -> list[Part]:
    """Divide wheels into parts of at most ``limit`` bytes, in their order; one may be larger."""
    parts: list[list[Path]] = [[]]
    size = 0
    for wheel in wheels:
        n_bytes = wheel.stat().st_size
        if parts[-1] and size + n_bytes > limit:
            parts.append([])
            size = 0
        parts[-1].append(wheel)
        size += n_bytes
    return [Part(number, tuple(part)) for number, part in enumerate(parts, start=1)]


def listed(file: Path) -> dict[str, str]:
    """Return the names that a file lists, a name a line, with what stands behind their colon."""
    lines = (line.strip() for line in file.read_text().splitlines())
    entries = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): reason.strip() for name, _, reason in entries}


def collect(folder: Path, python: str, interpreter: str | None, limit: int) -> list[Part]:
    """Fill ``folder`` with the parts and return them; what stood there before is removed.

    Raises CalledProcessError when pip cannot get or build a package.
    """
    left_out = frozenset(listed(HERE / "present.txt") | listed(HERE / "unneeded.txt"))
    everything = closure([OURS], python, left_out, _installed)
    last = closure(FRAMEWORKS, python, left_out, _installed)
    first = [name for name in everything.versions if name not in last.versions]
    with tempfile.TemporaryDirectory() as temporary:
        wheels = Path(temporary)
        _download(
            {
                name: version
                for name, version in everything.versions.items()
                if name not in (OURS, WITHOUT_WHEEL)
            },
            python,
            wheels,
        )
        _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(CHECKOUT))
        _build(
            f"{WITHOUT_WHEEL}=={everything.versions[WITHOUT_WHEEL]}", python, interpreter, wheels
        )
        of_name = {canonicalize_name(wheel.name.split("-")[0]): wheel for wheel in wheels.iterdir()}
        ordered = [*first, *(name for name in everything.versions if name in last.versions)]
        parts = in_parts([of_name[name] for name in ordered], limit)
        shutil.rmtree(folder, ignore_errors=True)
        for part in parts:
            place = folder / f"part-{part.number}"
            place.mkdir(parents=True)
            for wheel in part.wheels:
                shutil.copy(wheel, place)
        shown = [
            Part(part.number, tuple(sorted((folder / f"part-{part.number}").iterdir())))
            for part in parts
        ]
    _tell(shown, everything)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=CHECKOUT / "gpu-parts")
    parser.add_argument("--python", default="3.12", help="Python's version there (default: 3.12)")
    parser.add_argument(
        "--interpreter",
        help="a Python of that version here, to build lapjv with (default: pythonVERSION, if it is "
        "on the PATH); without one lapjv's source is carried and built there",
    )
    parser.add_argument("--part-mb", type=int, default=58, help="size of a part (default: 58 MB)")
    chosen = parser.parse_args()
    interpreter = chosen.interpreter or shutil.which(f"python{chosen.python}")
    collect(chosen.folder, chosen.python, interpreter, chosen.part_mb * 1_000_000)
    return 0


def _applies(requirement: Requirement, extras: frozenset[str], python: str) -> bool:
    if requirement.marker is None:
        return True
    there = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    return any(requirement.marker.evaluate({**there, "extra": one}) for one in extras or {""})


def _installed(name: str) -> tuple[str, Sequence[str]]:
    found = distribution(name)
    return found.version, found.requires or ()


def _download(versions: dict[str, str], python: str, folder: Path) -> None:
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in _GLIBC]
    platforms += ["manylinux2014_x86_64", "manylinux1_x86_64", "any"]
    _pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={python}",
        *(f"--platform={platform}" for platform in platforms),
        f"--dest={folder}",
        *(f"{name}=={version}" for name, version in versions.items()),
    )


def _build(requirement: str, python: str, interpreter: str | None, folder: Path) -> None:
    if interpreter:
        _pip("wheel", "--no-deps", f"--wheel-dir={folder}", requirement, interpreter=interpreter)
        return
    print(f"No Python {python} is here: {requirement} is carried as source, and built there.")
    _pip("download", "--no-deps", "--no-binary=:all:", f"--dest={folder}", requirement)


def _pip(*arguments: str, interpreter: str = sys.executable) -> None:
    command = [interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True)


def _tell(parts: Sequence[Part], everything: Closure) -> None:
    for part in parts:
        print(f"part {part.number}: {part.n_bytes / 1e6:.1f} MB")
        for wheel in part.wheels:
            print(f"  {wheel.stat().st_size / 1e6:6.2f} MB  {wheel.name}")
    reasons = listed(HERE / "unneeded.txt")
    present = sorted(everything.left_out - reasons.keys())
    print(f"left out, as the other machine has them: {', '.join(present)}")
    for name in sorted(everything.left_out & reasons.keys()):
        print(f"left out: {name}, {reasons[name]}")


if __name__ == "__main__":
    sys.exit(main())
