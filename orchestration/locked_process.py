"""Becomes a program that holds a lock as long as it lives: `...locked_process LOCK NOTE COMMAND`.

The kernel frees the lock when the process ends, however it ends, so whoever finds the lock held
knows that the program runs, and two of them cannot run side by side.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

# What it ends with when the program runs already.
TAKEN = 75
# The service answers first. It is no addition: what a program starts is no nicer than the program.
NICENESS = 10
# Somebody may be looking whether the lock is held, for a moment.
_LOCK_SECONDS = 2.0


def locked_command(lock: Path, note: str, command: list[str]) -> list[str]:
    """Return the command that runs ``command`` while it holds ``lock``, with a note in the file."""
    return [sys.executable, "-m", "orchestration.locked_process", str(lock), note, *command]


def holder_of(lock: Path) -> tuple[int, str] | None:
    """Return the number and the note of the process that holds a lock; None if none does."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        # A shared lock is enough to see it, and two that look do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        number, _, note = os.pread(descriptor, 4096, 0).decode().partition(" ")
        # Between taking the lock and writing into it, a process has no number yet.
        return int(number or 0), note
    finally:
        os.close(descriptor)
    return None


def main(lock: str, note: str, *command: str) -> None:
    """Take the lock and become the program; exits with TAKEN if another holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(TAKEN)
            time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {note}".encode(), 0)
    # The program inherits the lock. What it starts does not: Python closes other descriptors.
    os.set_inheritable(descriptor, True)
    # What starts a service in the background may have it, and its children, ignore interrupts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(own, NICENESS))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
