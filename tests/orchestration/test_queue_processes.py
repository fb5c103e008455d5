import os
import time
from contextlib import closing
from types import SimpleNamespace

import psutil
import pytest

from assets.methods.common.errors import UserError
from orchestration import queue_processes
from orchestration.locked_process import holder_of
from orchestration.queue_processes import QueueProcesses
from support.served import processes_of_queue, wait_for


def holders(home) -> dict[str, int]:
    """The numbers of the processes that hold a lock, by role."""
    held = {role: holder_of(home / "queue" / f"{role}.lock") for role in ("code-server", "daemon")}
    return {role: holder[0] for role, holder in held.items() if holder and holder[0]}


def both(home) -> dict[str, int]:
    wait_for(lambda: len(holders(home)) == 2, 90, "they do not run")
    return holders(home)


@pytest.mark.process
def test_the_processes_of_a_home_from_their_first_user_to_their_last(home, instance):
    first, second = QueueProcesses(home, instance), QueueProcesses(home, instance)
    with closing(first):
        first.start()
        first.wait_for_code_server()
        running = both(home)
        folder = queue_processes._socket_folder(home)
        # Another user starts none, and its end ends none.
        second.start()
        second.close()
        assert both(home) == running
        # Each comes back when it is killed, and the other stays.
        for role in ("code-server", "daemon"):
            psutil.Process(running[role]).kill()
            wait_for(lambda role=role: both(home)[role] != running[role], 90, "it stays away")
        again = both(home)
        assert not set(again.values()) & set(running.values())
    assert processes_of_queue(home) == []
    assert holders(home) == {}
    assert not folder.exists()


@pytest.mark.process
def test_what_a_user_leaves_that_is_killed_is_used_by_the_next_unless_it_is_outdated(
    home, instance, monkeypatch
):
    first = QueueProcesses(home, instance)
    first.start()
    running = both(home)
    # As a kill leaves it: nobody looks any more, and the kernel has freed the lock of the users.
    first._stopping.set()
    first._thread.join()
    os.close(first._users)
    with closing(QueueProcesses(home, instance)) as second:
        second.start()
        time.sleep(2)
        assert both(home) == running
        second._stopping.set()
        second._thread.join()
        monkeypatch.setattr(queue_processes, "version", lambda distribution: "another")
        os.close(second._users)
        with closing(QueueProcesses(home, instance)) as third:
            third.start()
            assert not set(both(home).values()) & set(running.values())
        second._users = os.open(home / "queue" / "users.lock", os.O_RDWR)
    for role in first._roles.values():
        role.reap()
    assert processes_of_queue(home) == []


class Heartbeats:
    """An instance that daemons have told that they live."""

    def __init__(self) -> None:
        self.beats: dict[str, SimpleNamespace] = {}

    def say(self, daemon_id: str, seconds_ago: float = 0.0) -> None:
        beat = SimpleNamespace(timestamp=time.time() - seconds_ago, daemon_id=daemon_id)
        self.beats["SENSOR"] = beat

    def get_daemon_heartbeats(self) -> dict[str, SimpleNamespace]:
        return self.beats


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """The roles that a process was started for."""
    roles: list[str] = []
    monkeypatch.setattr(
        queue_processes._Role, "start", lambda self, note, command: roles.append(self._lock.stem)
    )
    return roles


@pytest.mark.parametrize(
    ("daemon_id", "seconds_ago", "needs_code_server", "expected"),
    [
        ("theirs", 5, False, []),
        ("theirs", 5, True, ["code-server"]),
        ("theirs", 300, False, ["code-server"]),
        ("ours", 5, False, ["code-server"]),
    ],
)
def test_a_daemon_of_somebody_else_is_used(
    home, started, daemon_id, seconds_ago, needs_code_server, expected
):
    (home / "queue").mkdir()
    (home / "queue" / "daemon-id").write_text("ours")
    instance = Heartbeats()
    instance.say(daemon_id, seconds_ago)
    processes = QueueProcesses(home, instance, needs_code_server=needs_code_server)
    processes._look()
    assert started == expected


def test_a_folder_that_somebody_else_has_made_is_not_used(home, tmp_path, monkeypatch):
    monkeypatch.setattr(queue_processes.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = queue_processes._socket_folder(home)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(folder)) - len(os.fsencode(tmp_path)) < 60
    folder.chmod(0o755)
    with pytest.raises(UserError, match="not ours alone"):
        queue_processes._socket_folder(home)
