"""One collection of three is broken in eight ways; are the others mapped each time?

`tessera dev` runs on a new home with the sensor `new_images` switched on, as an operator has it.
For each way one collection is broken, and both others get a photo more. The table says after how
many seconds they were mapped, and what the sensor or the run told of the broken one.
Run: python bench/broken_collections.py
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
from PIL import Image

from assets.resources.collections import Collection
from orchestration.dead_runs import process_of
from orchestration.instance import open_instance, register
from orchestration.run_queue import PARTITION_TAG

BROKEN, FINE = "broken", ("first", "third")
LONGEST_SECONDS = 300.0
START_SENSOR = """
mutation { startSensor(sensorSelector: {repositoryLocationName: "tessera",
  repositoryName: "__repository__", sensorName: "new_images"}) { __typename } }
"""


class Bench:
    """A home with three collections of photos, and its instance."""

    def __init__(self, place: Path, instance: dg.DagsterInstance) -> None:
        self.place, self.home, self.instance = place, place / "home", instance
        self._n_photos = 0
        for name in (BROKEN, *FINE):
            for _ in range(6):
                self.add_photo(name)
            register(instance, Collection(name, str(self.folder(name))))

    def folder(self, name: str) -> Path:
        return self.place / name

    def add_photo(self, name: str) -> None:
        """Add a photo of noise to the source of a collection."""
        self._n_photos += 1
        self.folder(name).mkdir(exist_ok=True)
        pixels = np.random.default_rng(self._n_photos).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(self.folder(name) / f"{self._n_photos:04}.png")

    def mapped_at(self, name: str) -> float:
        """Return when the last mosaic of a collection was drawn; 0 if there is none."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("mosaic"), asset_partitions=[name]), limit=1
        ).records
        return records[0].timestamp if records else 0.0

    def wait_for_maps(self, names: tuple[str, ...], since: float) -> dict[str, float]:
        """Wait until collections are mapped; return the seconds by name."""
        deadline, found = time.monotonic() + LONGEST_SECONDS, dict[str, float]()
        while len(found) < len(names):
            if time.monotonic() > deadline:
                return found
            found = {n: self.mapped_at(n) - since for n in names if self.mapped_at(n) > since}
            time.sleep(1)
        return found

    def told(self, since: float) -> str:
        """Return what is known of the broken collection's last run."""
        runs = self.instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: BROKEN}), limit=1)
        if not runs or runs[0].create_timestamp.timestamp() < since:
            return "no run was asked for"
        run = runs[0].dagster_run
        for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = entry.dagster_event
            data = event.step_failure_data if event else None
            if data is not None and data.user_failure_data is not None:
                return f"{run.status.value}: {data.user_failure_data.description}"
        return run.status.value


@contextlib.contextmanager
def dev(home: Path) -> Iterator[None]:
    """Run `tessera dev` with the sensor switched on."""
    port, mlflow_port = (_free_port() for _ in range(2))
    with (home.parent / "dev.log").open("wb") as log:
        ports = ["--port", str(port), "--mlflow-port", str(mlflow_port)]
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "dev", *ports], stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}/graphql"
        _wait(lambda: _starts_sensor(url))
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _starts_sensor(url: str) -> bool:
    try:
        reply = httpx.post(url, json={"query": START_SENSOR}, trust_env=False, timeout=30).json()
    except httpx.TransportError:
        return False
    return bool(reply.get("data", {}).get("startSensor", {}).get("__typename") == "Sensor")


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("tessera dev does not answer")
        time.sleep(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# Each breaks the collection, and yields while it is broken.


@contextlib.contextmanager
def _no_collection(bench: Bench) -> Iterator[None]:
    for folder in ("collections", "collections-backup"):
        (bench.home / folder / f"{BROKEN}.json").unlink()
    yield


@contextlib.contextmanager
def _damaged_collection(bench: Bench) -> Iterator[None]:
    for folder in ("collections", "collections-backup"):
        (bench.home / folder / f"{BROKEN}.json").write_bytes(b"\0" * 40)
    yield


@contextlib.contextmanager
def _no_source(bench: Bench) -> Iterator[None]:
    shutil.rmtree(bench.folder(BROKEN))
    yield


@contextlib.contextmanager
def _no_readable_photo(bench: Bench) -> Iterator[None]:
    for photo in bench.folder(BROKEN).iterdir():
        photo.write_bytes(b"no photo")
    yield


@contextlib.contextmanager
def _damaged_manifest(bench: Bench) -> Iterator[None]:
    manifest = bench.place / "manifest.parquet"
    manifest.write_bytes(b"PAR1 and no more")
    register(bench.instance, Collection(BROKEN, str(manifest)))
    yield


@contextlib.contextmanager
def _silent_server(bench: Bench) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = {"raw_images": {"allow_private_addresses": True}}
        url = f"http://127.0.0.1:{server.getsockname()[1]}/photos.csv"
        register(bench.instance, Collection(BROKEN, url, settings))
        yield


@contextlib.contextmanager
def _damaged_values(bench: Bench) -> Iterator[None]:
    for file in (bench.home / "outputs").glob(f"*/{BROKEN}/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20])
    bench.add_photo(BROKEN)
    yield


@contextlib.contextmanager
def _killed_runs(bench: Bench) -> Iterator[None]:
    over = threading.Event()

    def kill() -> None:
        at_work = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
        while not over.wait(0.2):
            filters = dg.RunsFilter(tags={PARTITION_TAG: BROKEN}, statuses=at_work)
            for run in bench.instance.get_runs(filters):
                process = process_of(bench.instance, run)
                if process is not None and process.is_alive():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.number, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    bench.add_photo(BROKEN)
    try:
        yield
    finally:
        over.set()
        killer.join()


WAYS: dict[str, Callable[[Bench], contextlib.AbstractContextManager[None]]] = {
    "partition without a collection": _no_collection,
    "file of the collection damaged": _damaged_collection,
    "folder gone": _no_source,
    "no readable photo": _no_readable_photo,
    "manifest damaged": _damaged_manifest,
    "server that never answers": _silent_server,
    "values of its assets damaged": _damaged_values,
    "its runs killed": _killed_runs,
}


def _mend(bench: Bench) -> None:
    shutil.rmtree(bench.folder(BROKEN), ignore_errors=True)
    for _ in range(6):
        bench.add_photo(BROKEN)
    register(bench.instance, Collection(BROKEN, str(bench.folder(BROKEN))))


def main() -> None:
    """Break one collection in each way in turn, and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--ways", type=int, default=len(WAYS), help="Only the first so many.")
    wanted: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        os.environ["TESSERA_HOME"] = str(place / "home")
        n_lost = 0
        with open_instance() as instance:
            bench = Bench(place, instance)
            with dev(bench.home):
                bench.wait_for_maps((BROKEN, *FINE), 0.0)
                for way, breaks in list(WAYS.items())[: wanted.ways]:
                    since = time.time()
                    with breaks(bench):
                        for name in FINE:
                            bench.add_photo(name)
                        seconds = bench.wait_for_maps(FINE, since)
                        told = bench.told(since)
                    n_lost += len(FINE) - len(seconds)
                    others = ", ".join(f"{name} {one:.0f} s" for name, one in seconds.items())
                    print(f"{way:<32} mapped: {others or 'none'}; {BROKEN}: {told}", flush=True)
                    _mend(bench)
        print(f"{n_lost} maps of the others were lost")


if __name__ == "__main__":
    main()
