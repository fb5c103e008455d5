"""Photos a second that threads and processes read, and that are embedded in the stream, in one run.

A photo is read as for the default backbone: its working copy decoded, scaled and cropped.
Run: python bench/stream.py [cpu, cuda or mps [how many photos]]
"""

import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputeSettings, DevicePreference, Precision, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.embedding import embed
from assets.methods.models.preprocessing import square_of
from assets.methods.models.reading import MakeReader, reading_processes, reading_threads
from assets.methods.photos.photo_store import PhotoStore

N_WORKING_COPIES = 300
SIZE = (384, 256)  # of most working copies, in px
BATCH = 128
READERS = {"threads": reading_threads, "processes": reading_processes}
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16", "float16")


def write_working_copies(store: PhotoStore) -> list[str]:
    """Store parts of photographs; return their ids."""
    photographs = [Image.fromarray(one()) for one in (data.astronaut, data.chelsea, data.coffee)]
    image_ids = [f"{number:08x}" for number in range(N_WORKING_COPIES)]
    for number, image_id in enumerate(image_ids):
        photograph = photographs[number % len(photographs)]
        left = number % 50
        part = photograph.crop((left, left, left + 390, left + 240)).resize(SIZE)
        store.keep_working_copy(image_id, part)
    return image_ids


def read(store: PhotoStore, image_id: str) -> np.ndarray:
    return square_of(store.open_working_copy(image_id), efficientnet_lite0.PREPROCESSING)


def read_all(
    make_reader: MakeReader, store: PhotoStore, image_ids: list[str], workers: int
) -> tuple[float, float]:
    """Return the seconds to the first batch, and the photos a second after it."""
    side = efficientnet_lite0.PREPROCESSING.crop
    batches = [image_ids[start : start + BATCH] for start in range(0, len(image_ids), BATCH)]
    started = time.perf_counter()
    with make_reader(partial(read, store), (BATCH, side, side, 3), 3, workers) as reader:
        reader.begin(0, batches[0])()
        first = time.perf_counter()
        reading: deque[Callable[[], None]] = deque()
        for number, batch in enumerate(batches[1:]):
            reading.append(reader.begin(number % 3, batch))
            if len(reading) == 3:
                reading.popleft()()
        while reading:
            reading.popleft()()
        ended = time.perf_counter()
    return first - started, (len(image_ids) - BATCH) / (ended - first)


def rate(work: Callable[[], object], n: int) -> float:
    started = time.perf_counter()
    work()
    return n / (time.perf_counter() - started)


def main() -> None:
    device: DevicePreference = sys.argv[1] if len(sys.argv) > 1 else "cpu"  # type: ignore[assignment]
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, 2, max(1, cores // 2), cores, 2 * cores})
    with tempfile.TemporaryDirectory() as folder:
        store = PhotoStore(Path(folder))
        known = write_working_copies(store)
        image_ids = [known[number % len(known)] for number in range(n)]
        print(f"{n} photos, {cores} cores\n{'':<24} {'first batch (s)':>16} {'photos/s':>9}")
        for count in counts:
            for name, make_reader in READERS.items():
                first, photos = read_all(make_reader, store, image_ids, count)
                print(f"{count:>4} {name:<19} {first:>16.2f} {photos:>9.0f}", flush=True)
        print(f"{'precision':<24} {'':>16} photos/s embedded")
        for precision in PRECISIONS:
            settings = ComputeSettings(device, precision=precision, batch_sizes=Path(folder) / "b")
            try:
                plan = plan_compute(settings)
            except UserError:
                continue
            backbone = load_backbone(DEFAULT_BACKBONE)
            work = partial(embed, store.open_working_copy, image_ids, backbone, plan)
            embed(store.open_working_copy, image_ids[: 2 * plan.threads], backbone, plan)
            print(f"{precision:<24} {rate(work, n):>26.0f}", flush=True)
        print((Path(folder) / "b").read_text() if (Path(folder) / "b").exists() else "")


if __name__ == "__main__":
    main()
