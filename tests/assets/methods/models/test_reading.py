import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from assets.methods.common.errors import UserError
from assets.methods.models.reading import reading_processes, reading_threads
from support.served import wait_for

SHAPE = (20, 2, 2, 3)
WAYS = [reading_threads, pytest.param(reading_processes, marks=pytest.mark.process)]

# Begins to read, names its processes, and is killed.
PROGRAM = """
import multiprocessing, time
from assets.methods.models.reading import reading_processes
from {module} import read
if __name__ == "__main__":
    with reading_processes(read, (1, 2, 2, 3), 1, 2) as reader:
        reader.begin(0, ["1"])()
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(60)
"""


def read(image_id):
    if image_id == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(SHAPE[1:], int(image_id), dtype=np.uint8)


@pytest.mark.parametrize("ways", WAYS)
def test_photos_lie_in_their_room_in_their_order_and_a_bad_one_is_told(ways):
    with ways(read, SHAPE, 2, 2) as reader:
        waits = [reader.begin(0, [str(one) for one in range(20)]), reader.begin(1, ["7", "8"])]
        for wait in waits:
            wait()
        assert reader.rooms[0][:, 0, 0, 0].tolist() == list(range(20))
        assert (reader.rooms[1][0] == 7).all()
        assert (reader.rooms[1][1] == 8).all()
        wait = reader.begin(1, ["9", "nine"])
        with pytest.raises(ValueError, match="nine"):
            wait()


@pytest.mark.process
def test_a_process_that_is_killed_is_told_in_one_sentence_and_none_is_left():
    with reading_processes(read, SHAPE, 1, 2) as reader:
        reader.begin(0, ["1"])()
        wait = reader.begin(0, ["kill"])
        with pytest.raises(UserError, match=r"^A process .* ended .*processes\.$"):
            wait()
    assert multiprocessing.active_children() == []


@pytest.mark.process
def test_the_processes_end_with_the_one_that_began_them():
    program = PROGRAM.format(module=__name__)
    path = os.pathsep.join(sys.path)
    began = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    numbers = [int(one) for one in began.stdout.readline().split()]
    assert numbers
    began.kill()
    began.wait()
    began.stdout.close()
    wait_for(lambda: not any(map(psutil.pid_exists, numbers)), 30, "processes were left")
