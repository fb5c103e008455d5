"""The processes of Dagster's queue for one home: its daemon, and the code server that starts runs.

`tessera serve` and `tessera dev` both need them, in any order, and share one pair. Each process
holds a lock as long as it lives (`locked_process.py`), so whoever finds a lock free may start the
process, and who was killed leaves processes that the next one finds. The last user ends them.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import psutil

from assets import DISTRIBUTION
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from orchestration.locked_process import holder_of, locked_command

LOCATION = "tessera"
# The processes, and whatever they start, have the home in this variable.
MARK = "TESSERA_QUEUE_OF"
# Until a run that was interrupted is killed.
SECONDS_TO_END = 10.0

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_START = 120.0
# A daemon says every 30 seconds that it lives.
HEARTBEAT_SECONDS = 75.0
_LONGEST_PAUSE = 10.0
_LARGEST_LOG = 10 * 2**20  # bytes
_WORKSPACE = """\
load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""

_log = logging.getLogger(__name__)


class QueueProcesses:
    """Keeps the daemon and the code server of a home running, from ``start`` to ``close``.

    With ``needs_code_server`` the code server runs even where a daemon of somebody else, such as a
    deployment's, serves the home: its own code server is out of our reach.
    """

    def __init__(
        self,
        home: Path,
        instance: dg.DagsterInstance,
        environment: Mapping[str, str] = os.environ,
        needs_code_server: bool = False,
    ) -> None:
        self._folder = home / "queue"
        # Two users may spell the path of one home differently.
        self._home = home.resolve()
        self._instance = instance
        self._needs_code_server = needs_code_server
        self._roles = {
            name: _Role(
                self._folder,
                name,
                {**environment, "TESSERA_HOME": str(home), MARK: str(self._home)},
            )
            for name in ("code-server", "daemon")
        }
        # When our daemon was last seen to run, in seconds since 1970.
        self._seen_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="queue processes", daemon=True)

    @property
    def workspace(self) -> Path:
        """The file that tells Dagster's programs where the code server is."""
        return self._folder / "workspace.yaml"

    @property
    def logs(self) -> Path:
        """The folder of the files that the processes write their messages to."""
        return self._folder

    def start(self) -> None:
        """Begin; waits while the last user of the home is ending the processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._users = os.open(self._folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if self._is_only_user():
            self._end_outdated()
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._thread.start()

    def close(self) -> None:
        """Stop; the last user of the home ends the processes, and with them what they run."""
        self._stopping.set()
        self._thread.join()
        try:
            if self._is_only_user():
                self._end()
        finally:
            os.close(self._users)

    def wait_for_code_server(self) -> None:
        """Return when the code server answers; raises UserError if it does not in time."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._answers():
            if time.monotonic() > deadline:
                raise UserError(f"Dagster's code server does not start: see {self._folder}.")
            time.sleep(0.1)

    # ---- keeping them ----

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception:
                _log.exception("The processes of the queue could not be looked after.")
            self._stopping.wait(_SECONDS_BETWEEN_LOOKS)

    def _look(self) -> None:
        code_server, daemon = self._roles["code-server"], self._roles["daemon"]
        if daemon.holder() is not None:
            self._remember_daemon()
        elif self._has_other_daemon():
            if self._needs_code_server and code_server.holder() is None:
                self._start_code_server()
            return
        if code_server.holder() is None:
            self._start_code_server()
        elif daemon.holder() is None and self._answers():
            # Without a code server that answers it would look for one again after a minute.
            daemon.start("", _daemon_command(self.workspace))

    def _start_code_server(self) -> None:
        place = _socket_folder(self._home) / "code-server.sock"
        text = _WORKSPACE.format(socket=place, location=LOCATION)
        if not self.workspace.exists() or self.workspace.read_text() != text:
            write_whole(self.workspace, text.encode())
        note = f"{version(DISTRIBUTION)} {place}"
        self._roles["code-server"].start(note, _code_server_command(place))

    def _answers(self) -> bool:
        holder = self._roles["code-server"].holder()
        if holder is None:
            return False
        place = holder[1].partition(" ")[2]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            try:
                client.connect(place)
            except OSError:
                return False
        return True

    # ---- daemons of others ----

    def _remember_daemon(self) -> None:
        """Write down under which name our daemon says that it lives."""
        self._seen_at = time.time()
        newest = self._newest_heartbeat()
        if newest is None or newest[1] == self._daemon_id():
            return
        with suppress(psutil.NoSuchProcess):
            number = (self._roles["daemon"].holder() or (0, ""))[0]
            if number and psutil.Process(number).create_time() < newest[0]:
                write_whole(self._folder / "daemon-id", newest[1].encode())

    def _has_other_daemon(self) -> bool:
        """Whether a daemon that is none of ours has said a moment ago that it lives."""
        newest = self._newest_heartbeat()
        if newest is None or time.time() - newest[0] > HEARTBEAT_SECONDS:
            return False
        # Ours may have been killed before its name was written down.
        is_ours = newest[1] == self._daemon_id() or newest[0] < self._seen_at + 2
        return not is_ours

    def _newest_heartbeat(self) -> tuple[float, str] | None:
        heartbeats = self._instance.get_daemon_heartbeats().values()
        return max(((beat.timestamp, beat.daemon_id or "") for beat in heartbeats), default=None)

    def _daemon_id(self) -> str:
        place = self._folder / "daemon-id"
        return place.read_text() if place.exists() else ""

    # ---- ending them ----

    def _is_only_user(self) -> bool:
        """Whether no other process uses the home's queue; then none can begin to, either."""
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _end_outdated(self) -> None:
        """End what a user of another version has left when it was killed."""
        holder = self._roles["code-server"].holder()
        if holder is not None and holder[1].partition(" ")[0] != version(DISTRIBUTION):
            self._end()

    def _end(self) -> None:
        # The daemon first, so that no further run begins.
        _end([process for process in self._processes() if self._holds("daemon", process)], 5)
        self._seen_at = time.time()
        # A run that is interrupted is reported by the code server, which is the last to go.
        _end([one for one in self._processes() if not self._stays_till_the_end(one)])
        _end(list(self._processes()), 5)
        for role in self._roles.values():
            role.reap()
        shutil.rmtree(_socket_folder(self._home), ignore_errors=True)

    def _stays_till_the_end(self, process: psutil.Process) -> bool:
        # The tracker of multiprocessing ends with the process that it belongs to, and not before.
        is_tracker = any("resource_tracker" in word for word in process.cmdline())
        return is_tracker or self._holds("code-server", process)

    def _holds(self, role: str, process: psutil.Process) -> bool:
        return (self._roles[role].holder() or (0, ""))[0] == process.pid

    def _processes(self) -> Iterator[psutil.Process]:
        """Yield the processes of this home's queue, and what they have started."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self._home):
                    yield process


class _Role:
    """One of the two processes: who holds its lock, and how it is started."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str]) -> None:
        self._lock = folder / f"{name}.lock"
        self._messages = folder / f"{name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = -_LONGEST_PAUSE
        self._pause = _SECONDS_BETWEEN_LOOKS

    def holder(self) -> tuple[int, str] | None:
        """Return the number and the note of the process; None if it does not run."""
        return holder_of(self._lock)

    def start(self, note: str, command: list[str]) -> None:
        """Start the process, later and later if it ends again and again."""
        now = time.monotonic()
        if now - self._started_at < self._pause:
            return
        if now - self._started_at > 2 * _LONGEST_PAUSE:
            self._pause = _SECONDS_BETWEEN_LOOKS
        self._started_at, self._pause = now, min(2 * self._pause, _LONGEST_PAUSE)
        self.reap()
        is_large = self._messages.exists() and self._messages.stat().st_size > _LARGEST_LOG
        with self._messages.open("wb" if is_large else "ab") as messages:
            self._process = subprocess.Popen(  # noqa: S603
                locked_command(self._lock, note, command),
                env=self._environment,
                # The folder of the caller may hold modules of the same names.
                cwd=self._messages.parent,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
            )

    def reap(self) -> None:
        """Let the kernel forget a process that has ended."""
        if self._process is not None:
            self._process.poll()


def _code_server_command(place: Path) -> list[str]:
    return [
        sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(place),
        "--module-name", "orchestration.definitions", "--location-name", LOCATION,
        "--log-level", "warning",
    ]  # fmt: skip


def _daemon_command(workspace: Path) -> list[str]:
    # Beside the interpreter, whatever PATH says.
    program = Path(sys.executable).with_name("dagster-daemon")
    return [str(program), "run", "--workspace", str(workspace), "--log-level", "warning"]


def _socket_folder(home: Path) -> Path:
    """Make the folder of a home's socket: a path may have about a hundred bytes, a home more.

    Raises UserError if somebody else could put a socket there.
    """
    name = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tessera-{os.getuid()}-{name}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise UserError(f"{folder} is not ours alone: remove it.")
    return folder


def _end(processes: list[psutil.Process], seconds: float = SECONDS_TO_END) -> None:
    """Ask processes to end, and kill those that have not after so many seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
