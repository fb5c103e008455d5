"""Processes by a name that outlives them, so that what a dead one has left can be recognised."""

import os
import socket
import time
from pathlib import Path

import psutil

# Two processes with one number differ by more; a correction of the clock differs by less.
_SAME_START_SECONDS = 10.0


def this_process(run_id: str) -> str:
    """Return the name of this process, for the tag by which a dead process is recognised.

    It has the time of the start in it, because numbers of processes are used again, and the run,
    because a run that is made from another takes its tags over.
    """
    begun = psutil.Process().create_time()
    return f"{socket.gethostname()}:{os.getpid()}:{begun:.2f}:{run_id}"


class RunProcess:
    """A process of this machine, which had begun by a moment in seconds since 1970."""

    def __init__(self, number: int, begun_by: float) -> None:
        self.number = number
        self.begun_by = begun_by

    def is_alive(self) -> bool:
        """Whether it still runs, and its number is not used by another."""
        try:
            process = psutil.Process(self.number)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.create_time() < self.begun_by + _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            # Somebody else's process, but one that lives.
            return True

    def home(self) -> Path | None:
        """Return the home that another process was started for; None if it does not say."""
        if self.number == os.getpid():
            return None
        try:
            process = psutil.Process(self.number)
            given = process.environ().get("TESSERA_HOME")
            return Path(process.cwd(), given) if given else None
        except (psutil.Error, OSError):
            return None


def named_process(name: str, run_id: str) -> RunProcess | None:
    """Return the process of a name that ``this_process`` gave for a run.

    None for one of another machine, and for a name that was given for another run.
    """
    host, number, begun, named_run, *_ = [*name.split(":"), "", "", "", ""]
    if host != socket.gethostname() or named_run not in ("", run_id):
        return None
    # Older names do not say when the process began.
    return RunProcess(int(number), float(begun) if begun else time.time())
