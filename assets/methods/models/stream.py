"""Rows of many photos, in their order, from threads that read the photos ahead of the network.

On the CPU every thread reads a batch and runs it. On an accelerator the threads read the next
batches while the one before is computed: they write squares of uint8 into memory that the device
copies from by itself, and the rows of a batch are taken when the next one has been launched.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets.methods.common.devices import ComputePlan
from assets.methods.common.parallel import ordered_map
from assets.methods.common.progress import Progress
from assets.methods.models.forward import Network, unsplit_pool

if TYPE_CHECKING:
    import torch

# Returns the square of a photo, (side, side, 3) uint8; called from several threads.
ReadSquare = Callable[[str], np.ndarray]
Rows = Generator[np.ndarray, None, None]

# Batches that are being read while another is computed. The threads read on from one into the next.
_BATCHES_AHEAD = 2
_PHOTOS_A_TASK = 4


def stream_rows(
    network: Network, read: ReadSquare, image_ids: Sequence[str], side: int, plan: ComputePlan
) -> Rows:
    """Yield the rows of n photos, (some, d) float32 at a time, in their order.

    Args:
        network: maps squares, (some, side, side, 3) uint8, to rows.
        read: an exception of it ends the stream.
        image_ids: the photos.
        side: of the squares.
        plan: that of the network.

    Raises:
        UserError: as for ``network``.
    """
    if plan.device == "cpu":

        def run(batch: Sequence[str]) -> np.ndarray:
            return network(np.stack([read(image_id) for image_id in batch]))

        return rows_in_threads(run, image_ids, plan.batch_size, plan.threads)
    buffers = _CudaBuffer if plan.device == "cuda" else _PlainBuffer
    return rows_ahead(network, read, image_ids, side, plan, buffers)


def rows_in_threads(
    run: Callable[[Sequence[str]], np.ndarray],
    image_ids: Sequence[str],
    batch_size: int,
    threads: int,
) -> Rows:
    """Yield what ``run``, called in the threads of ``unsplit_pool``, makes of each batch."""
    size = max(1, min(batch_size, -(-len(image_ids) // threads)))
    with unsplit_pool(threads) as pool:
        yield from ordered_map(pool, run, _batches(image_ids, size), 2 * threads)


def reported(parts: Iterable[np.ndarray], total: int, progress: Progress) -> Rows:
    """Yield the parts, and report how many of ``total`` rows there have been."""
    done = 0
    for rows in parts:
        done += len(rows)
        progress(done, total)
        yield rows


class Buffer(Protocol):
    """Room for a batch on the way to the device and back; ``squares`` is where it is read to."""

    squares: np.ndarray

    def send(self) -> "torch.Tensor":
        """Return the squares on the device, which may still be copying them."""

    def fetch(self, rows: "torch.Tensor") -> Callable[[], np.ndarray]:
        """Return a function that waits for the rows of the batch and returns them."""


def rows_ahead(
    network: Network,
    read: ReadSquare,
    image_ids: Sequence[str],
    side: int,
    plan: ComputePlan,
    make_buffer: Callable[[tuple[int, ...], str], Buffer],
) -> Rows:
    """Yield the rows of each batch once the next one has been launched."""
    batches = _batches(image_ids, plan.batch_size)
    shape = (plan.batch_size, side, side, 3)
    # One batch is computed, one launched, and the others are read.
    n_buffers = min(len(batches), _BATCHES_AHEAD + 2)
    buffers = [make_buffer(shape, plan.device) for _ in range(n_buffers)]
    reading: deque[list[Future[None]]] = deque()
    launched: deque[Callable[[], np.ndarray]] = deque()
    n_begun = 0
    with unsplit_pool(plan.threads) as pool:
        for number, batch in enumerate(batches):
            while n_begun < min(len(batches), number + 1 + _BATCHES_AHEAD):
                squares = buffers[n_begun % n_buffers].squares
                reading.append(_begin(pool, read, batches[n_begun], squares))
                n_begun += 1
            for part in reading.popleft():
                part.result()
            buffer = buffers[number % n_buffers]
            launched.append(buffer.fetch(network.rows(buffer.send()[: len(batch)])))
            if len(launched) > 1:
                yield launched.popleft()()
        while launched:
            yield launched.popleft()()


def _begin(
    pool: ThreadPoolExecutor, read: ReadSquare, batch: Sequence[str], squares: np.ndarray
) -> list[Future[None]]:
    """Let the pool read a batch into ``squares``; return the reading of its parts."""

    def work(start: int) -> None:
        for place, image_id in enumerate(batch[start : start + _PHOTOS_A_TASK], start):
            squares[place] = read(image_id)

    return [pool.submit(work, start) for start in range(0, len(batch), _PHOTOS_A_TASK)]


class _PlainBuffer:
    """For devices whose transfers are waited for."""

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        self.squares = np.empty(shape, dtype=np.uint8)
        self._device = device

    def send(self) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.squares).to(self._device)

    def fetch(self, rows: "torch.Tensor") -> Callable[[], np.ndarray]:
        return lambda: rows.cpu().numpy()


class _CudaBuffer:
    """Pinned memory, from which the device copies on a stream of its own."""

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        import torch

        self._pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._on_device = torch.empty(shape, dtype=torch.uint8, device=device)
        self._copying = torch.cuda.Stream()
        # What had this memory before may still be computing.
        self._copying.wait_stream(torch.cuda.current_stream())
        self.squares = self._pinned.numpy()

    def send(self) -> "torch.Tensor":
        import torch

        with torch.cuda.stream(self._copying):
            self._on_device.copy_(self._pinned, non_blocking=True)
        # Without this, memory that is given up early could be used anew before the copy ends.
        self._on_device.record_stream(self._copying)
        torch.cuda.current_stream().wait_stream(self._copying)
        return self._on_device

    def fetch(self, rows: "torch.Tensor") -> Callable[[], np.ndarray]:
        import torch

        pinned = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        pinned.copy_(rows, non_blocking=True)
        # A blocking event leaves its core to the threads that read.
        computed = torch.cuda.Event(blocking=True)
        computed.record()

        def wait() -> np.ndarray:
            computed.synchronize()
            return pinned.numpy().copy()

        return wait


def _batches(image_ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [image_ids[start : start + size] for start in range(0, len(image_ids), size)]
