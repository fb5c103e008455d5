import json

import pytest
from filelock import Timeout

from orchestration.notices.cause import Cause, Kind
from orchestration.notices.notice import Notice
from orchestration.notices.state import NoticeState, Queue, SeenSource, StateFile

CAUSE = Cause(Kind.STALE_COLLECTION, "birds", "", 12.5, "It is stale.")
STATE = NoticeState(
    {CAUSE.key: CAUSE},
    {"birds": SeenSource("place", 1.0, "digest", 2.0, None)},
    {"webhook": Queue({CAUSE.key: CAUSE}, [Notice("opened", CAUSE, 13.0, "u")], 2, 60.0, "why")},
)


def test_a_state_is_read_as_it_was_written(tmp_path):
    assert StateFile(tmp_path).read() == NoticeState()
    StateFile(tmp_path).write(STATE)
    assert StateFile(tmp_path).read() == STATE


def test_a_state_is_written_only_where_it_differs(tmp_path):
    path = tmp_path / "notices" / "state.json"
    StateFile(tmp_path).write(STATE)
    file, written = StateFile(tmp_path), path.stat().st_ino
    state = file.read()
    file.write(state)
    assert path.stat().st_ino == written
    state.queues["webhook"].n_failed += 1
    file.write(state)
    assert StateFile(tmp_path).read() == state != STATE
    # One that has gone meanwhile is made again.
    path.unlink()
    file.read()
    file.write(state)
    assert StateFile(tmp_path).read() == state


@pytest.mark.parametrize("fault", ["cut", "emptied", "changed", "of another version", "a list"])
def test_a_damaged_state_is_set_aside(tmp_path, caplog, fault):
    file = StateFile(tmp_path)
    file.write(STATE)
    path = tmp_path / "notices" / "state.json"
    data = path.read_bytes()
    other = json.dumps({"open": {}, "sources": {"birds": {"eyes": 2}}, "queues": {}}).encode()
    path.write_bytes(
        {
            "cut": data[:-20],
            "emptied": b"",
            "changed": data.replace(b"It is stale", b"It is fresh"),
            "of another version": other,
            "a list": b"[]",
        }[fault]
    )
    assert file.read() == NoticeState()
    assert path.with_suffix(".corrupt").exists()
    assert "Moved" in caplog.text


def test_only_one_process_at_a_time_changes_it(tmp_path):
    with StateFile(tmp_path).lock(0), pytest.raises(Timeout):
        StateFile(tmp_path).lock(0.01).acquire()
