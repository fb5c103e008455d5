"""Photos to vectors: the output of a network before its classifier, scaled to unit length.

The vector of a photo is the same bytes whatever the number of threads, the order of the photos and
the batch it came in. Summing in another order changes the last bits of a float, and the kernels
choose their order by the number of threads and by the size of the batch; so no operation is ever
split over threads, and all batches have the same size. The threads work on different batches.

Another batch size, another device or another kind of processor may still change the last bits.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.backbones import Backbone
from assets.methods.devices import ComputePlan
from assets.methods.errors import UserError
from assets.methods.preprocessing import preprocess
from assets.methods.progress import Progress, silent

if TYPE_CHECKING:
    import torch


def embed(
    load_image: Callable[[str], Image.Image],
    image_ids: Sequence[str],
    backbone: Backbone,
    plan: ComputePlan,
    progress: Progress = silent,
) -> np.ndarray:
    """Embed photos.

    Args:
        load_image: returns the photo of an image_id; called from several threads.
        image_ids: the n photos.
        backbone: the network; it is moved to the plan's device.
        plan: where to compute, and how much at a time.
        progress: told of the photos done.

    Returns:
        (n, d) float32, rows of unit length; a row is zero where the network gave all zeros.

    Raises:
        UserError: memory does not suffice even for one photo, or a vector is not finite.
    """
    vectors = np.empty((len(image_ids), backbone.dimensions), dtype=np.float32)
    network = _Network(backbone, plan)

    def work(start: int) -> np.ndarray:
        batch = image_ids[start : start + plan.batch_size]
        images = [preprocess(load_image(one), backbone.preprocessing) for one in batch]
        return _unit_length(network(np.stack(images)))

    starts = range(0, len(image_ids), plan.batch_size)
    with _repeatable(), ThreadPoolExecutor(plan.threads, initializer=_unsplit_operations) as pool:
        for start, rows in zip(starts, pool.map(work, starts), strict=True):
            vectors[start : start + len(rows)] = rows
            progress(start + len(rows), len(image_ids))
    return vectors


class _Network:
    """A backbone on its device, fed batches of one size, smaller once memory has run out."""

    def __init__(self, backbone: Backbone, plan: ComputePlan) -> None:
        import torch

        # Convolutions over few images run up to twice as fast with the channels last.
        module = backbone.module.eval().to(memory_format=torch.channels_last)
        self._module = module.to(plan.device)
        self._plan = plan
        self._batch_size = plan.batch_size
        # Threads side by side on one accelerator gain nothing and multiply its memory.
        self._turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if plan.device == "cpu" else threading.Lock()
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map (n, side, side, 3) to (n, d), both float32."""
        while True:
            size = self._batch_size
            try:
                parts = [
                    self._run(images[start : start + size], size)
                    for start in range(0, len(images), size)
                ]
                return np.concatenate(parts)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if size == 1:
                    raise UserError(
                        f"Memory on {self._plan.device} does not suffice for a single photo: "
                        "use a smaller network, fewer threads or another device."
                    ) from error
            self._halve(size)

    def _run(self, images: np.ndarray, size: int) -> np.ndarray:
        import torch

        padded = np.zeros((size, *images.shape[1:]), dtype=np.float32)
        padded[: len(images)] = images
        with self._turn, torch.inference_mode(), self._autocast():
            batch = torch.from_numpy(padded).permute(0, 3, 1, 2).to(self._plan.device)
            return self._module(batch)[: len(images)].float().cpu().numpy()

    def _autocast(self) -> "torch.autocast":
        import torch

        return torch.autocast(
            self._plan.device,
            dtype=getattr(torch, self._plan.precision),
            enabled=self._plan.precision != "float32",
        )

    def _halve(self, failed: int) -> None:
        import torch

        # Several threads may have failed at the same size: the first halves it for all.
        if self._batch_size == failed:
            self._batch_size = max(1, failed // 2)
        if self._plan.device == "cuda":
            torch.cuda.empty_cache()


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise UserError(
            "The network gave numbers that are not finite: use float32, or other weights."
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's allocator and MPS raise a plain RuntimeError.
    return "not enough memory" in str(error) or "out of memory" in str(error)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Make torch's operations give the same bytes each time; its settings return at the end.

    OpenMP keeps the number of threads for each thread, torch a default for new ones: it is set here
    and once more by each worker.
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


def _unsplit_operations() -> None:
    import torch

    torch.set_num_threads(1)
