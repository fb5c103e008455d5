import os
import subprocess
import sys
import time

import pytest

from orchestration.locked_process import NICENESS, TAKEN, holder_of, locked_command
from support.served import wait_for

# Says which of its signals are ignored, and waits.
PROGRAM = "import signal; print(signal.getsignal(signal.SIGINT), flush=True); input()"

pytestmark = pytest.mark.process


def start(lock, note: str = "a note") -> subprocess.Popen:
    command = locked_command(lock, note, [sys.executable, "-c", PROGRAM])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_program_holds_its_lock_as_long_as_it_lives_however_it_ends(tmp_path):
    lock = tmp_path / "program.lock"
    assert holder_of(lock) is None
    first = start(lock)
    assert wait_for(lambda: holder_of(lock), 20, "it holds no lock") == (first.pid, "a note")
    second = start(lock)
    assert second.wait(20) == TAKEN
    assert holder_of(lock) == (first.pid, "a note")
    first.kill()
    first.wait()
    assert holder_of(lock) is None
    third = start(lock)
    wait_for(lambda: holder_of(lock), 20, "it holds no lock")
    third.communicate("")
    assert holder_of(lock) is None
    second.communicate()
    first.communicate()


def test_what_a_program_starts_does_not_hold_the_lock(tmp_path):
    lock = tmp_path / "program.lock"
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])"
    command = locked_command(lock, "", [sys.executable, "-c", program])
    held_open, other_end = os.pipe()
    process = subprocess.Popen(command, stdin=held_open)
    assert process.wait(20) == 0
    assert holder_of(lock) is None
    os.close(other_end)
    os.close(held_open)


def test_a_program_hears_interrupts_although_its_parent_ignores_them(tmp_path):
    command = locked_command(tmp_path / "lock", "", [sys.executable, "-c", PROGRAM])
    script = (
        f"import signal, subprocess; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"print(subprocess.run({command!r}, input='', capture_output=True, text=True).stdout)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "default_int_handler" in ran.stdout


def test_it_answers_first_and_computes_later(tmp_path):
    lock = tmp_path / "program.lock"
    process = start(lock)
    wait_for(lambda: holder_of(lock), 20, "it holds no lock")
    time.sleep(0.1)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
    process.communicate("")


def test_a_program_gives_way_to_the_service_and_to_no_more_than_that(tmp_path):
    asks = [sys.executable, "-c", "import os; print(os.nice(0))"]
    within = locked_command(tmp_path / "inner", "", asks)
    command = locked_command(tmp_path / "outer", "", within)
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ran.stdout) == max(NICENESS, os.nice(0))
