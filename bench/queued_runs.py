"""The service's runs on Dagster's queue: how long they take, who waits for whom, and what is lost.

Each part is a command that prints a table: `times` (start, POST to the first asset and to ready,
memory, latency of GET; the medians of several rounds), `fairness` (a nightly of collections, and an
app with many requests beside one with one), `kills` (random SIGKILLs of the service, its daemon,
its code server and its runs). `times` also runs against older code: set PYTHONPATH to a checkout.
Run: python bench/queued_runs.py times --rounds 5
"""

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psutil
from PIL import Image

N_PHOTOS = 100
REQUESTS_A_SECOND = 100
PENDING, READY = 42001, 42000
LONGEST_SECONDS = 900.0


class Client:
    """A client of one service; every request has a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: object = None, key: str = "") -> dict[str, Any]:
        """Return the reply, with the HTTP status under `http`."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Key {key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return {**json.loads(response.read()), "http": response.status}

    def post_photos(self, n: int, seed: int, key: str = "") -> None:
        """Post so many new photos."""
        for start in range(0, n, 100):
            items = [photo(seed * 100_003 + number) for number in range(start, min(n, start + 100))]
            reply = self.ask("POST", "/v2/inputs", {"inputs": items}, key)
            assert reply["status"]["code"] == 10000, reply

    def visualize(self, key: str = "", **options: object) -> str:
        """Post a visualization; return its id."""
        reply = self.ask("POST", "/v2/visualizations", options, key)
        return str(reply["output"]["id"])

    def state(self, identity: str, key: str = "") -> dict[str, Any]:
        """Return the status of a visualization."""
        status: dict[str, Any] = self.ask("GET", f"/v2/visualizations/{identity}", key=key)[
            "output"
        ]["status"]
        return status

    def wait(self, identity: str, key: str = "") -> tuple[float, dict[str, Any]]:
        """Wait until a visualization has ended; return the moment, and its status."""
        begun = time.monotonic()
        while (status := self.state(identity, key))["code"] == PENDING:
            assert time.monotonic() - begun < LONGEST_SECONDS, "it is pending for ever"
            time.sleep(0.1)
        return time.time(), status


def photo(seed: int) -> dict[str, Any]:
    """Return an input with an image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((300, 200)).save(file, "JPEG")
    return {"data": {"image": {"base64": base64.b64encode(file.getvalue()).decode()}}}


class Service:
    """`tessera serve` on a home; ``start`` and ``kill`` it as often as needed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.client = Client(0)

    def start(self) -> float:
        """Start, and return the seconds until it is ready."""
        begun = time.monotonic()
        log = (self.home.parent / "serve.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "serve", "--port", "0"],
            env={**os.environ, "TESSERA_HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.client = Client(int(line.split()[1].rpartition(":")[2]))
        while self.client.ask("GET", "/readyz")["http"] != 200:
            time.sleep(0.05)
        return time.monotonic() - begun

    def stop(self) -> float:
        """End it as Ctrl-C does, and return the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def service() -> Iterator[Service]:
    """Yield a service on a new home, and end everything that belongs to it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        served = Service(Path(folder) / "home")
        served.start()
        try:
            yield served
        finally:
            if served.process.poll() is None:
                served.stop()
            for process in processes_of(served.home):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def processes_of(home: Path) -> list[psutil.Process]:
    """Return all processes that work on a home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TESSERA_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
    return found


def megabytes(home: Path) -> float:
    """Return the memory of all processes that work on a home, shared pages counted once."""
    total = 0
    for process in processes_of(home):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


@contextlib.contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of a home."""
    os.environ["DAGSTER_HOME"] = os.environ["TESSERA_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance


def first_step(home: Path, identity: str) -> float:
    """Return when the first asset of a run began, in seconds since 1970."""
    with instance_of(home) as instance:
        entries = instance.all_logs(identity, of_type=dg.DagsterEventType.STEP_START)
        return min(entry.timestamp for entry in entries)


# ---- times ----


def times(rounds: int) -> None:
    """Print medians of what a person who uses the service waits for."""
    measured: dict[str, list[float]] = {}
    for number in range(rounds):
        with service() as served:
            served.stop()
            round_of = {"start to /readyz (s)": served.start()}
            time.sleep(10)
            round_of["memory at rest (MB)"] = megabytes(served.home)
            round_of |= _one_visualization(served, seed=2 * number + 1)
            round_of["Ctrl-C (s)"] = served.stop()
        for name, value in round_of.items():
            measured.setdefault(name, []).append(value)
        print(f"round {number + 1}: {round_of}", file=sys.stderr, flush=True)
    for name, values in measured.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:<42}{statistics.median(values):>9.1f}   {spread}")


def _one_visualization(served: Service, seed: int) -> dict[str, float]:
    client = served.client
    client.post_photos(N_PHOTOS, seed)
    posted = time.time()
    identity = client.visualize()
    ready_at, status = client.wait(identity)
    assert status["code"] == READY, status
    timed = {
        "POST to the first asset's start (s)": first_step(served.home, identity) - posted,
        f"POST to ready, {N_PHOTOS} photos (s)": ready_at - posted,
    }
    client.post_photos(N_PHOTOS, seed + 1)
    return timed | _under_load(served, client.visualize())


def _under_load(served: Service, identity: str) -> dict[str, float]:
    """Read a visualization at a fixed rate while its run goes on."""
    while served.client.state(identity).get("percent_completed") == 0:
        time.sleep(0.1)
    seconds: list[float] = []
    memory: list[float] = []
    over = threading.Event()

    def read(number: int, n_clients: int = 16) -> None:
        due = time.monotonic() + number / REQUESTS_A_SECOND
        while not over.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            sent = time.monotonic()
            reply = served.client.ask("GET", f"/v2/visualizations/{identity}")
            # Clients that catch up after a slow reply may be throttled.
            if reply["http"] == 200 and reply["output"]["status"]["code"] != PENDING:
                over.set()
            seconds.append(time.monotonic() - sent)
            due += n_clients / REQUESTS_A_SECOND

    threads = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    while not over.wait(3):
        memory.append(megabytes(served.home))
    for thread in threads:
        thread.join()
    p50, p95 = np.percentile(1000 * np.array(seconds), [50, 95])
    return {
        "GET p50 during a run (ms)": float(p50),
        "GET p95 during a run (ms)": float(p95),
        "memory at work, most (MB)": max(memory, default=float("nan")),
    }


# ---- fairness ----


def fairness(n_collections: int, n_many: int) -> None:
    """Print how long a visualization waits behind a nightly, and one app behind another."""
    from orchestration.api.keys import KeyLimits, KeyRing
    from orchestration.definitions import definitions
    from orchestration.run_queue import NIGHTLY, submit

    with service() as served:
        client = served.client
        ring = KeyRing(served.home / "keys")
        keys = {app: ring.new_key(app, KeyLimits())[1] for app in ("first", "many", "one")}
        for seed, key in enumerate(keys.values(), 20):
            client.post_photos(N_PHOTOS, seed, key)
        alone = _seconds_to_ready(client, keys["first"], tile=17)
        with instance_of(served.home) as instance:
            _queue_nightly(served, instance, n_collections, definitions, NIGHTLY, submit)
            while not instance.get_runs_count(
                dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
            ):
                time.sleep(0.1)
            behind = _seconds_to_ready(client, keys["first"], tile=18)
            done = instance.get_runs_count(
                dg.RunsFilter(tags=NIGHTLY, statuses=[dg.DagsterRunStatus.SUCCESS])
            )
            left = instance.get_runs(dg.RunsFilter(tags=NIGHTLY))
            longest = _longest_nightly(instance)
            for run in left:
                if not run.is_finished:
                    instance.run_coordinator.cancel_run(run.run_id)
        print(f"{'ready on an idle machine (s)':<50}{alone:>8.1f}")
        print(f"{f'ready, a nightly of {n_collections} queued (s)':<50}{behind:>8.1f}")
        print(f"{'longest run of the nightly by then (s)':<50}{longest:>8.1f}")
        print(f"{'runs of the nightly that had ended by then':<50}{done:>8}")
        print(f"{'allowed: 1.5 times alone, and that run (s)':<50}{1.5 * alone + longest:>8.1f}")
        many = [client.visualize(keys["many"], tile=20 + number) for number in range(n_many)]
        one = client.visualize(keys["one"], tile=20)
        client.wait(one, keys["one"])
        before = sum(client.state(known, keys["many"])["code"] == READY for known in many)
        print(f"{f'of {n_many} of another app, ready before the one':<50}{before:>8}")
        for known in many:
            client.ask("DELETE", f"/v2/visualizations/{known}", key=keys["many"])


def _seconds_to_ready(client: Client, key: str, **options: object) -> float:
    posted = time.time()
    ready_at, status = client.wait(client.visualize(key, **options), key)
    assert status["code"] == READY, status
    return ready_at - posted


def _queue_nightly(
    served: Service,
    instance: dg.DagsterInstance,
    n: int,
    definitions: dg.Definitions,
    tags: dict[str, str],
    submit: Callable[..., None],
) -> None:
    """Put a run of each of so many collections into the queue, as the schedule does."""
    import uuid

    from assets.resources.collections import Collection
    from orchestration.instance import register

    for number in range(n):
        folder = served.home.parent / f"night-{number}"
        folder.mkdir()
        for index in range(N_PHOTOS // 4):
            data = photo(900_000 + 1_000 * number + index)["data"]["image"]["base64"]
            (folder / f"{index}.jpg").write_bytes(base64.b64decode(data))
        name = f"night-{number}"
        register(instance, Collection(name, str(folder)))
        partition = {"dagster/partition": name}
        job = definitions.resolve_job_def("photo_map")
        submit(instance, job, str(uuid.uuid4()), {}, {**tags, **partition})


def _longest_nightly(instance: dg.DagsterInstance) -> float:
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/priority": "-1"}))
    ended = [one for one in records if one.start_time and one.end_time]
    return max((one.end_time - one.start_time for one in ended), default=0.0)  # type: ignore[operator]


# ---- kills ----


def kills(n: int, seed: int) -> None:
    """Kill at random, alone and together, and print how every visualization has ended."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    asked: list[str] = []
    most_daemons = 0
    with service() as served:
        served.client.post_photos(20, 1)
        for number in range(n):
            while sum(served.client.state(one)["code"] == PENDING for one in asked[-4:]) < 2:
                asked.append(served.client.visualize(tile=10 + len(asked)))
            time.sleep(chance.uniform(0.5, 20))
            victims = chance.sample(list(_VICTIMS), chance.choice([1, 1, 1, 2, 3, 4]))
            for victim in victims:
                killed[victim] += _VICTIMS[victim](served)
            print(f"{number + 1}: {', '.join(victims)}", file=sys.stderr, flush=True)
            if served.process.poll() is not None:
                time.sleep(chance.uniform(0, 3))
                served.start()
            most_daemons = max(most_daemons, len(_running(served, "dagster-daemon")))
        ends: Counter[str] = Counter()
        for known in asked:
            _, status = served.client.wait(known)
            name = "ready" if status["code"] == READY else f"failed: {status.get('details')}"
            ends[name] += 1
        most_daemons = max(most_daemons, len(_running(served, "dagster-daemon")))
        stopped_in = served.stop()
        left = processes_of(served.home)
    for what, count in killed.items():
        print(f"{'killed: ' + what:<60}{count:>6}")
    for how, count in ends.items():
        print(f"{how[:58]:<60}{count:>6}")
    print(f"{'most daemons at a time':<60}{most_daemons:>6}")
    print(f"{'seconds to stop in the end':<60}{stopped_in:>6.1f}")
    print(f"{'processes left':<60}{len(left):>6}")


def _running(served: Service, word: str) -> list[psutil.Process]:
    found = []
    for process in processes_of(served.home):
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline()):
                found.append(process)
    return found


def _kill_service(served: Service) -> int:
    served.kill()
    return 1


def _kill_all(word: str) -> Callable[[Service], int]:
    def kill(served: Service) -> int:
        found = _running(served, word)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    return kill


_VICTIMS: dict[str, Callable[[Service], int]] = {
    "service": _kill_service,
    "daemon": _kill_all("dagster-daemon"),
    "code server": _kill_all("--location-name"),
    "runs": _kill_all("spawn_main"),
}


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("times")
    part.add_argument("--rounds", type=int, default=5)
    part = parts.add_parser("fairness")
    part.add_argument("--collections", type=int, default=20)
    part.add_argument("--many", type=int, default=50)
    part = parts.add_parser("kills")
    part.add_argument("--kills", type=int, default=30)
    part.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.part == "times":
        times(given.rounds)
    elif given.part == "fairness":
        fairness(given.collections, given.many)
    else:
        kills(given.kills, given.seed)


if __name__ == "__main__":
    main()
