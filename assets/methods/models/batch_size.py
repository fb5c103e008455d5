"""The batch size with which a network is fastest on an accelerator: measured once, then kept.

Another batch size may change the last bits of a result, so later runs take the size that was kept.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from assets.methods.common.devices import ComputePlan
from assets.methods.common.files import set_aside, write_whole
from assets.methods.common.fingerprints import digest_parts
from assets.methods.models.forward import is_out_of_memory, one_at_a_time, placed, run_module

if TYPE_CHECKING:
    import torch

SIZES = (32, 64, 128, 256, 512)
_NEAR_BEST = 0.95
_SECONDS_A_SIZE = 0.3
_SECONDS = 3.0  # after which no larger size is tried
_FEWEST_RUNS = 3


def with_batch_size(plan: ComputePlan, module: "torch.nn.Module", side: int) -> ComputePlan:
    """Return the plan with its batch size chosen, if it leaves that to the network.

    Args:
        plan: where the module will run; it is moved there.
        module: maps (n, 3, side, side) float32 to (n, d).
        side: of the images, in px.
    """
    if plan.batch_sizes is None:
        return plan
    size = known_batch_size(
        plan.batch_sizes, _key(plan, module, side), lambda: _rates_of(module, plan, side)
    )
    return replace(plan, batch_size=size, batch_sizes=None)


def known_batch_size(file: Path, key: str, measure: Callable[[], Mapping[int, float]]) -> int:
    """Return the batch size that ``file`` has for ``key``; without one, measure and keep it.

    Args:
        file: JSON, which is put aside if it is damaged.
        key: names the card, the network and the precision.
        measure: returns the images/s of the sizes that memory has room for.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that measure at once would disturb each other, and could choose two sizes.
    with FileLock(file.with_suffix(".lock")):
        known = _read(file)
        if key in known:
            return known[key]["batch_size"]
        rates = measure()
        if not rates:
            return SIZES[0]
        size = smallest_near_best(rates)
        kept = {str(tried): round(rate) for tried, rate in rates.items()}
        known[key] = {"batch_size": size, "images_per_second": kept}
        write_whole(file, json.dumps(known, indent=2).encode())
        return size


def measured_rates(
    run: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Return the images/s of each of ``SIZES`` that memory has room for.

    Args:
        run: runs a batch of this size, and waits for its result.
        clock: returns the time in seconds.
    """
    rates: dict[int, float] = {}
    begun: float | None = None
    for size in SIZES:
        if begun is not None and clock() - begun > _SECONDS:
            break
        try:
            # The first run of each size pays for its kernels, the first of all for the libraries.
            run(size)
            begun = clock() if begun is None else begun
            started, n_runs, seconds = clock(), 0, 0.0
            while n_runs < _FEWEST_RUNS or seconds < _SECONDS_A_SIZE:
                run(size)
                n_runs += 1
                seconds = clock() - started
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        rates[size] = n_runs * size / seconds
    return rates


def smallest_near_best(rates: Mapping[int, float]) -> int:
    """Return the smallest size whose images/s are at most 5 % below the best."""
    return min(size for size, rate in rates.items() if rate >= _NEAR_BEST * max(rates.values()))


def _rates_of(module: "torch.nn.Module", plan: ComputePlan, side: int) -> dict[int, float]:
    import torch

    on_device = placed(module, plan)

    batches: dict[int, torch.Tensor] = {}

    def run(size: int) -> object:
        if size not in batches:
            batches.clear()
            # A card computes zeros faster than photos.
            noise = torch.randn((size, 3, side, side), generator=torch.Generator().manual_seed(0))
            batches[size] = noise.to(plan.device)
        return run_module(on_device, plan, batches[size]).cpu()

    with one_at_a_time(plan.device):
        rates = measured_rates(run)
        if plan.device == "cuda":
            torch.cuda.empty_cache()
        return rates


def _key(plan: ComputePlan, module: "torch.nn.Module", side: int) -> str:
    """Name what decides the speed: the shapes of the weights do, and not their values."""
    import torch

    card = torch.cuda.get_device_name() if plan.device == "cuda" else plan.device
    shapes = [[name, list(one.shape)] for name, one in module.state_dict().items()]
    network = digest_parts({"module": type(module).__name__, "shapes": shapes, "side": side})
    parts = (card, f"torch {torch.__version__}", f"{type(module).__name__} {network[:12]}")
    return ", ".join((*parts, plan.precision))


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_bytes())
        sizes = [entry["batch_size"] for entry in known.values()]
        if all(type(size) is int and size >= 1 for size in sizes):
            return known
    except FileNotFoundError:
        return {}
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    set_aside(file, "holds no batch sizes")
    return {}
