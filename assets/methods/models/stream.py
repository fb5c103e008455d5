"""Rows of many photos, in their order, with the photos read ahead of the network.

On the CPU every thread reads a batch and runs it. On an accelerator the next batches are read, by
threads or processes (``reading``), while the one before is computed: their squares of uint8 are put
into memory that the device copies from by itself, and the rows of a batch are taken when the next
one has been launched.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets.methods.common.devices import ComputePlan
from assets.methods.common.parallel import ordered_map
from assets.methods.common.progress import Progress
from assets.methods.models.forward import Network, unsplit, unsplit_pool
from assets.methods.models.reading import (
    MakeReader,
    ReadSquare,
    reading_processes,
    reading_threads,
)

if TYPE_CHECKING:
    import torch

Rows = Generator[np.ndarray, None, None]

# Batches that are being read while another is computed. The readers go on from one into the next.
_BATCHES_AHEAD = 2
# Threads have read as many photos by the time that processes have begun.
_FEWEST_FOR_PROCESSES = 4000


def stream_rows(
    network: Network, read: ReadSquare, image_ids: Sequence[str], side: int, plan: ComputePlan
) -> Rows:
    """Yield the rows of n photos, (some, d) float32 at a time, in their order.

    Args:
        network: maps squares, (some, side, side, 3) uint8, to rows.
        read: an exception of it ends the stream. On an accelerator it is pickled for processes
            if the photos are many.
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
    reader = reader_for(len(image_ids), plan.threads)
    return rows_ahead(network, read, image_ids, side, plan, buffers, reader)


def reader_for(n_photos: int, threads: int) -> MakeReader:
    """Return what reads so many photos soonest."""
    is_worth_processes = n_photos >= _FEWEST_FOR_PROCESSES and threads > 1
    return reading_processes if is_worth_processes else reading_threads


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
    """What a batch needs on its way to the device and back."""

    def send(self, squares: np.ndarray) -> "torch.Tensor":
        """Return a copy of the squares on the device, which may still be copying them."""

    def fetch(self, rows: "torch.Tensor") -> Callable[[], np.ndarray]:
        """Return a function that waits for the rows of the batch and returns them."""


def rows_ahead(
    network: Network,
    read: ReadSquare,
    image_ids: Sequence[str],
    side: int,
    plan: ComputePlan,
    make_buffer: Callable[[tuple[int, ...], str], Buffer],
    make_reader: MakeReader,
) -> Rows:
    """Yield the rows of each batch once the next one has been launched."""
    batches = _batches(image_ids, plan.batch_size)
    shape = (plan.batch_size, side, side, 3)
    # One batch is computed, one launched, and the others are read.
    n_buffers = min(len(batches), _BATCHES_AHEAD + 2)
    buffers = [make_buffer(shape, plan.device) for _ in range(n_buffers)]
    reading: deque[Callable[[], None]] = deque()
    launched: deque[Callable[[], np.ndarray]] = deque()
    n_begun = 0
    with unsplit(), make_reader(read, shape, n_buffers, plan.threads) as reader:
        for number, batch in enumerate(batches):
            while n_begun < min(len(batches), number + 1 + _BATCHES_AHEAD):
                reading.append(reader.begin(n_begun % n_buffers, batches[n_begun]))
                n_begun += 1
            reading.popleft()()
            place = number % n_buffers
            squares = buffers[place].send(reader.rooms[place])[: len(batch)]
            launched.append(buffers[place].fetch(network.rows(squares)))
            if len(launched) > 1:
                yield launched.popleft()()
        while launched:
            yield launched.popleft()()


class _PlainBuffer:
    """For devices whose transfers are waited for."""

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        self._device = device

    def send(self, squares: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.tensor(squares, device=self._device)

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

    def send(self, squares: np.ndarray) -> "torch.Tensor":
        import torch

        self._pinned.numpy()[:] = squares
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
