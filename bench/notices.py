"""Is everybody told once of each thing that goes wrong, and once that it is over?

`tessera dev` runs on a new home, whose nightly schedule is on, with a webhook, a webhook of Slack
and a mail address as receivers, none of which can be reached. Things of all five kinds go wrong.
All processes of `tessera dev` are killed and started again while the receivers are down, then after
the first notice has arrived, and once more when everything has been mended and the webhook answers
each attempt with an error for a minute. The table says how often each receiver got each notice, and
was told that it is over. With `--aimed` the second kill comes as soon as a notice arrives: then it
may come before it was noted down that it has, and the notice is sent again, with the same id.
Run: PYTHONPATH=.:tests python -m bench.notices
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from assets.values import GridAssignment
from orchestration.definitions import build_resources
from orchestration.instance import prepare_home
from orchestration.notices.state import StateFile
from support.notice_receivers import MailReceiver, WebReceiver, free_port
from support.served import TESSERA, processes_of_queue
from support.stored_values import FAULTS, store

QUICK = ("--backbone", "pixels", "--projection", "pca", "--no-page")
# One collection for each kind of fault.
RUN, CHECK, NIGHT, STALE, AWAY = "no-photo", "bad-value", "no-file", "changed", "moved"
COLLECTIONS = (RUN, CHECK, NIGHT, STALE, AWAY)
CAUSES = sorted(
    [
        ("failed_run", RUN),
        # Its run failed because its source has changed.
        ("stale_collection", RUN),
        ("failed_check", CHECK),
        ("missed_night", NIGHT),
        ("stale_collection", STALE),
        ("unreachable_source", AWAY),
    ]
)
HALF_A_MINUTE_IN_HOURS = "0.008"
LONGEST_SECONDS = 600.0
START_SCHEDULE = """
mutation { startSchedule(scheduleSelector: {repositoryLocationName: "tessera",
  repositoryName: "__repository__", scheduleName: "nightly"}) { __typename } }
"""


class Receivers:
    """A webhook, a webhook of Slack and a mail address, which are down at first."""

    def __init__(self) -> None:
        self.webhook, self.slack = (WebReceiver(free_port()) for _ in range(2))
        self.mail = MailReceiver(free_port())
        self._up = ExitStack()

    def environment(self) -> dict[str, str]:
        """Return the variables that name them, with limits of half a minute."""
        prefixed = {
            "WEBHOOK": self.webhook.address,
            "SLACK": self.slack.address,
            "MAIL_TO": "operator@example.org",
            "MAIL_FROM": "tessera@example.org",
            "SMTP": f"127.0.0.1:{self.mail.port}",
            "SMTP_SECURITY": "none",
            "STALE_HOURS": HALF_A_MINUTE_IN_HOURS,
            "UNREACHABLE_HOURS": HALF_A_MINUTE_IN_HOURS,
            "LOOK_MINUTES": "0.2",
        }
        return {f"TESSERA_NOTICE_{name}": value for name, value in prefixed.items()}

    def come_up(self) -> None:
        """Take notices from now on."""
        for receiver in (self.webhook, self.slack, self.mail):
            self._up.enter_context(receiver.up())

    def go_down(self) -> None:
        """Take no more."""
        self._up.close()

    def counts(self) -> dict[str, Counter[str]]:
        """Return by receiver how often each notice, by its id, was taken."""
        return {
            "webhook": Counter(self.webhook.ids),
            "Slack": Counter(post.headers["Idempotency-Key"] for post in self.slack.taken),
            "mail": Counter(str(one["Message-ID"])[1:].split("@")[0] for one in self.mail.mails),
        }

    def n_least(self) -> int:
        """Return how many different notices each has got at least."""
        return min(len(counts) for counts in self.counts().values())

    def n_all(self) -> int:
        """Return how many notices all of them have got."""
        return sum(counts.total() for counts in self.counts().values())


class Bench:
    """A home with five collections, and `tessera dev` on it."""

    def __init__(self, place: Path, receivers: Receivers) -> None:
        self.place, self.home = place, place / "home"
        self.environment = {**os.environ, **receivers.environment()}
        self._port, self._n_photos = free_port(), 0
        self._dev: subprocess.Popen[bytes] | None = None
        for name in COLLECTIONS:
            for _ in range(6):
                self.add_photo(name)
            self.map(name)

    def folder(self, name: str) -> Path:
        return self.place / name

    def add_photo(self, name: str) -> None:
        """Add a photo of noise to the source of a collection."""
        self._n_photos += 1
        self.folder(name).mkdir(exist_ok=True)
        pixels = np.random.default_rng(self._n_photos).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(self.folder(name) / f"{self._n_photos:04}.png")

    def tessera(self, *arguments: str) -> int:
        """Run a command; return its exit code."""
        done = subprocess.run([*TESSERA, *arguments], env=self.environment, capture_output=True)
        return done.returncode

    def map(self, name: str) -> int:
        out = str(self.place / "out" / name)
        return self.tessera("map", str(self.folder(name)), "--name", name, "--out", out, *QUICK)

    def start(self) -> None:
        """Start `tessera dev`, and the nightly schedule, which may be on."""
        ports = ["--port", str(self._port), "--mlflow-port", str(free_port())]
        with (self.place / "dev.log").open("ab") as log:
            command = [*TESSERA, "dev", *ports]
            self._dev = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        wait_for(self._starts_schedule, "tessera dev does not answer")

    def kill(self) -> None:
        """Kill all processes of `tessera dev` at once."""
        if self._dev is None:
            return
        own = psutil.Process(self._dev.pid)
        for process in (own, *own.children(recursive=True), *processes_of_queue(self.home)):
            if process.is_running():
                process.kill()
        self._dev.wait()
        self._dev = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def causes(self) -> list[tuple[str, str | None]]:
        """Return kind and collection of the causes that are open."""
        causes = StateFile(self.home).read().open.values()
        return sorted((str(cause.kind), cause.collection) for cause in causes)

    def _starts_schedule(self) -> bool:
        url = f"http://127.0.0.1:{self._port}/graphql"
        try:
            reply = httpx.post(url, json={"query": START_SCHEDULE}, trust_env=False, timeout=30)
            found = reply.json().get("data") or {}
        except (httpx.TransportError, ValueError):
            return False
        return "startSchedule" in found and "Error" not in found["startSchedule"]["__typename"]


def wait_for(is_so: Callable[[], bool], complaint: str) -> None:
    """Wait until something is so; raises TimeoutError."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.5)


def break_all(bench: Bench) -> Callable[[], None]:
    """Let one thing of each kind go wrong; return what mends them all."""
    kept = shutil.copytree(bench.folder(RUN), bench.place / "kept")
    for photo in bench.folder(RUN).iterdir():
        photo.write_bytes(b"no photo")
    failed = bench.map(RUN)

    files = build_resources()["io_manager"]
    grid = files.read(GridAssignment, "grid_assignment", CHECK)
    fault = next(one for one in FAULTS if one.check == "assignment_is_a_bijection")
    store(files, "grid_assignment", CHECK, fault.plant(grid))
    red = bench.tessera("check", CHECK)
    if not failed or not red:
        raise AssertionError(f"nothing went wrong: {failed}, {red}")

    registered = [
        bench.home / one / f"{NIGHT}.json" for one in ("collections", "collections-backup")
    ]
    contents = [file.read_bytes() for file in registered]
    for file in registered:
        file.write_bytes(b"\0" * 40)
    bench.add_photo(STALE)
    bench.folder(AWAY).rename(bench.place / "elsewhere")

    def mend() -> None:
        shutil.copytree(kept, bench.folder(RUN), dirs_exist_ok=True)
        store(files, "grid_assignment", CHECK, grid)
        for file, content in zip(registered, contents, strict=True):
            file.write_bytes(content)
        (bench.place / "elsewhere").rename(bench.folder(AWAY))
        codes = [bench.map(RUN), bench.tessera("check", CHECK), bench.map(STALE)]
        if any(codes):
            raise AssertionError(f"not everything was mended: {codes}")

    return mend


def trial(bench: Bench, receivers: Receivers, down_seconds: float, is_aimed: bool) -> None:
    """Go through all of it."""
    bench.start()
    mend = break_all(bench)
    wait_for(lambda: bench.causes() == CAUSES, "not everything is seen")
    for _ in range(2):
        time.sleep(down_seconds / 2)
        bench.restart()
    receivers.come_up()
    wait_for(lambda: receivers.n_all() > 0, "nobody is told")
    if not is_aimed:
        time.sleep(5)
    bench.restart()
    wait_for(lambda: receivers.n_least() >= len(CAUSES), "not everybody is told of everything")
    receivers.webhook.status = 503
    mend()
    wait_for(lambda: bench.causes() == [], "not everything is seen to be over")
    wait_for(lambda: bool(receivers.webhook.refused), "the webhook is not tried")
    bench.restart()
    time.sleep(60)
    receivers.webhook.status = 200
    wait_for(lambda: receivers.n_least() >= 2 * len(CAUSES), "not everybody is told of each end")
    # A second notice would come with one of the next rounds.
    time.sleep(90)


def main() -> int:
    """Print the table; end with 1 if a receiver was not told exactly once of something."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--down-seconds", type=float, default=150, help="Receivers are down so long."
    )
    parser.add_argument("--aimed", action="store_true", help="Kill as a notice arrives.")
    given = parser.parse_args()
    receivers = Receivers()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        os.environ["TESSERA_HOME"] = str(Path(place, "home"))
        prepare_home()
        bench = Bench(Path(place), receivers)
        try:
            trial(bench, receivers, given.down_seconds, given.aimed)
        finally:
            print("open:", bench.causes())
            bench.kill()
            receivers.go_down()
    counts = receivers.counts()
    print(f"| notice | {' | '.join(counts)} |\n|{'---|' * (1 + len(counts))}")
    titles = {post.body["id"]: post.body["title"] for post in receivers.webhook.taken}
    for one in dict.fromkeys(id for taken in counts.values() for id in taken):
        row = " | ".join(str(taken[one]) for taken in counts.values())
        print(f"| {titles.get(one, one)} | {row} |")
    n_again = [taken.total() - len(taken) for taken in counts.values()]
    is_right = max(n_again) <= given.aimed and all(
        len(taken) == 2 * len(CAUSES) and taken.keys() == titles.keys() for taken in counts.values()
    )
    print(f"Refused by the webhook meanwhile: {len(receivers.webhook.refused)}")
    print(f"Sent again with the same id: {sum(n_again)}")
    print(f"As it should be: {is_right}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
