"""Running a network forward: on its device, in batches of one size, with the same bits each time.

Summing in another order changes the last bits of a float, and the kernels choose their order by the
number of threads and by the size of the batch. So no operation is ever split over threads, and all
batches have the same size. The threads work on different batches.

On an accelerator the batches follow each other, in kernels that sum in one order.

Another batch size, another device or another kind of processor may still change the last bits.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress

if TYPE_CHECKING:
    import torch

# One for all networks: they share the settings of the arithmetic as well as the memory.
_ACCELERATOR_TURN = threading.RLock()


class Network:
    """A module on its device, fed batches of one size, smaller once memory has run out.

    Args:
        module: maps (n, 3, h, w) float32 to (n, d).
        plan: where to compute, and how much at a time.
        prepare: maps some of the images of a call, n >= 1, to the module's (n, 3, h, w) float32.
    """

    def __init__(
        self,
        module: "torch.nn.Module",
        plan: ComputePlan,
        prepare: "Callable[[Any], torch.Tensor]",
    ) -> None:
        self._module = placed(module, plan)
        self._plan = plan
        self._prepare = prepare
        self._batch_size = plan.batch_size
        self._turn = one_at_a_time(plan.device)

    def __call__(self, images: "Sequence[Any] | np.ndarray | torch.Tensor") -> np.ndarray:
        """Map n >= 1 images to (n, d) float32.

        Raises:
            UserError: memory does not suffice for a single photo.
        """
        with self._turn:
            return self.rows(images).cpu().numpy()

    def rows(self, images: "Sequence[Any] | np.ndarray | torch.Tensor") -> "torch.Tensor":
        """Map n >= 1 images to (n, d) float32 on the device, which may still be computing them.

        Raises:
            UserError: as for a call.
        """
        import torch

        while True:
            size = self._batch_size
            try:
                with self._turn:
                    parts = [
                        self._run(images[start : start + size], size)
                        for start in range(0, len(images), size)
                    ]
                    return torch.cat(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise UserError(
                        f"Memory on {self._plan.device} does not suffice for a single photo: "
                        "use a smaller network, fewer threads or another device."
                    ) from error
            self._halve(size)

    def _run(self, images: Any, size: int) -> "torch.Tensor":
        import torch

        with torch.inference_mode():
            prepared = self._prepare(images).to(self._plan.device)
            if len(images) < size:
                batch = prepared.new_zeros((size, *prepared.shape[1:]))
                batch[: len(images)] = prepared
            else:
                batch = prepared
            return run_module(self._module, self._plan, batch)[: len(images)]

    def _halve(self, failed: int) -> None:
        import torch

        # Several threads may have failed at the same size: the first halves it for all.
        if self._batch_size == failed:
            self._batch_size = max(1, failed // 2)
        if self._plan.device == "cuda":
            torch.cuda.empty_cache()


def placed(module: "torch.nn.Module", plan: ComputePlan) -> "torch.nn.Module":
    """Return the module on the plan's device, ready for ``run_module``."""
    import torch

    # Convolutions over few images run up to twice as fast with the channels last.
    return module.eval().to(memory_format=torch.channels_last).to(plan.device)


def run_module(
    module: "torch.nn.Module", plan: ComputePlan, batch: "torch.Tensor"
) -> "torch.Tensor":
    """Map a batch, (n, 3, h, w) float32, to (n, d) float32 in the plan's precision."""
    import torch

    with torch.inference_mode(), autocast(plan):
        return module(batch.contiguous(memory_format=torch.channels_last)).float()


def autocast(plan: ComputePlan) -> AbstractContextManager[object]:
    """Return a context that computes in the plan's precision, with the same bits each time."""
    import torch

    if plan.device == "cuda":
        return _cuda_arithmetic(plan)
    # Only CUDA has tf32.
    dtype = torch.float32 if plan.precision == "tf32" else getattr(torch, plan.precision)
    return torch.autocast(plan.device, dtype, enabled=dtype != torch.float32)


@contextmanager
def _cuda_arithmetic(plan: ComputePlan) -> Iterator[None]:
    import torch

    matmul = torch.backends.cuda.matmul
    is_tf32, was_tf32 = plan.precision == "tf32", matmul.allow_tf32
    is_half = plan.precision in ("float16", "bfloat16")
    dtype = getattr(torch, plan.precision) if is_half else None
    matmul.allow_tf32 = is_tf32
    try:
        with (
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=is_tf32
            ),
            torch.autocast("cuda", dtype, enabled=is_half),
        ):
            yield
    finally:
        matmul.allow_tf32 = was_tf32


def one_at_a_time(device: str) -> AbstractContextManager[object]:
    """Return a context that threads enter in turn on an accelerator, and together on the CPU."""
    # Threads side by side on one accelerator gain nothing and multiply its memory.
    return nullcontext() if device == "cpu" else _ACCELERATOR_TURN


@contextmanager
def unsplit() -> Iterator[None]:
    """Make torch's operations in this thread give the same bytes each time.

    OpenMP keeps the number of threads for each thread, torch a default for new ones: it is set to
    one. The settings return at the end.
    """
    import torch

    threads = torch.get_num_threads()
    _unsplit_operations()
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def unsplit_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads make torch's operations give the same bytes each time.

    When the body raises, calls that have not begun are dropped.
    """
    with unsplit():
        pool = ThreadPoolExecutor(workers, initializer=_unsplit_operations)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def rows_in_batches(
    pool: ThreadPoolExecutor,
    run: Callable[[list[str]], np.ndarray],
    image_ids: list[str],
    size: int,
    progress: Progress,
) -> np.ndarray:
    """Run batches of ``size`` image_ids in the pool, and return the rows of all, (n, ...).

    ``run`` maps a batch to a row for each of its images; ``progress`` counts the rows.
    """
    rows: list[np.ndarray] = []
    starts = range(0, len(image_ids), size)
    for part in pool.map(run, [image_ids[start : start + size] for start in starts]):
        rows.extend(part)
        progress(len(rows), len(image_ids))
    return np.stack(rows)


def _unsplit_operations() -> None:
    import torch

    torch.set_num_threads(1)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the error says that a device's memory, or the CPU's, does not suffice."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's allocator, MPS and CUDA's libraries raise a plain RuntimeError.
    signs = ("not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)
