"""The device that a network runs on, the batch size and the number of threads."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assets.methods.common.errors import UserError

# In tf32, numbers are stored in float32, and a CUDA device multiplies matrices with 10 of the 23
# bits of their mantissas.
Precision = Literal["float32", "tf32", "float16", "bfloat16"]
DevicePreference = Literal["auto", "cuda", "mps", "cpu"]

# On the CPU every thread runs a batch of its own, so small batches are as fast as large ones: two
# threads embed 97 images/s in batches of 1, 96 in batches of 4, and 70 in batches of 8
# (EfficientNet-Lite0, two cores). With batches of 1 a vector cannot depend on other images.
_BATCH_SIZES = {"cuda": 64, "mps": 32, "cpu": 1}


@dataclass(frozen=True)
class ComputeSettings:
    """The user's settings; None leaves the choice to the device that is found.

    ``threads`` is the number of images or batches at a time, not of threads inside one operation:
    it changes the speed and never the result. ``batch_sizes`` is the file of the batch sizes that
    were measured on accelerators (``models.batch_size``); None takes a size that suits most.
    """

    device: DevicePreference = "auto"
    batch_size: int | None = None
    precision: Precision = "float32"
    threads: int | None = None
    batch_sizes: Path | None = None


@dataclass(frozen=True)
class ComputePlan:
    """The settings of a computation, with every choice made.

    The choice of the batch size is left to the network if there is a file ``batch_sizes`` to find
    it in, or to keep it in once it has been measured.
    """

    device: str
    batch_size: int
    precision: Precision
    threads: int
    batch_sizes: Path | None = None


def plan_compute(settings: ComputeSettings, cpu_batch_size: int | None = None) -> ComputePlan:
    """Make the choices that the settings leave open.

    Args:
        settings: the user's settings.
        cpu_batch_size: the batch size on the CPU if the user sets none; None takes the default.

    Raises:
        UserError: the device is not available or does not compute in the precision, or a number is
            below one.
    """
    device = choose_device(settings.device)
    if settings.precision == "float16" and device == "cpu":
        raise UserError("The CPU does not compute in float16: ask for float32 or bfloat16.")
    if settings.precision == "tf32" and device != "cuda":
        raise UserError("Only CUDA devices compute in tf32: ask for float32 or bfloat16.")
    batch_size = settings.batch_size
    if batch_size is None:
        suits = cpu_batch_size if device == "cpu" else None
        batch_size = _BATCH_SIZES[device] if suits is None else suits
    threads = usable_cores() if settings.threads is None else settings.threads
    for name, number in (("batch size", batch_size), ("number of threads", threads)):
        if number < 1:
            raise UserError(f"The {name} is {number}: it has to be at least 1.")
    is_measured = settings.batch_size is None and device != "cpu"
    batch_sizes = settings.batch_sizes if is_measured else None
    return ComputePlan(device, batch_size, settings.precision, threads, batch_sizes)


def choose_device(preference: DevicePreference) -> str:
    """Find the device to compute on: "cuda", "mps" or "cpu".

    Args:
        preference: a device, or "auto" for the first of CUDA, MPS and CPU that is available.

    Raises:
        UserError: the device is not available.
    """
    present = _present_devices()
    if preference == "auto":
        return present[0]
    if preference not in present:
        raise UserError(
            f"The device {preference} is not available here: use auto, {' or '.join(present)}."
        )
    return preference


def usable_cores() -> int:
    """Return the number of cores this process may run on, which a container can lower."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _present_devices() -> list[str]:
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [device for device, available in found.items() if available] + ["cpu"]
