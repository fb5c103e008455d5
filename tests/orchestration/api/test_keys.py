import json
import os
import stat
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from orchestration.api.keys import KeyLimits, KeyRing


@pytest.fixture
def ring(tmp_path):
    return KeyRing(tmp_path / "keys")


def _age(ring):
    """Let the last change lie so far back that a ring takes its own reading for current."""
    os.utime(ring._folder, ns=(10**18, 10**18))


def test_a_key_is_found_by_its_text(ring):
    limits = KeyLimits(requests_per_second=3, request_megabytes=2, inputs=1)
    key, text = ring.new_key("birds", limits)
    assert ring.find(text) == key
    assert (key.app, key.limits, key.revoked_at) == ("birds", limits, None)
    assert datetime.fromisoformat(key.created_at).tzinfo is not None


def test_a_key_begins_with_its_id_and_has_256_random_bits(ring):
    key, text = ring.new_key("birds", KeyLimits())
    prefix, _, secret = text.partition(".")
    assert prefix == key.id
    assert len(secret) * 6 >= 256
    assert ring.new_key("birds", KeyLimits())[1] != text


def test_the_text_is_nowhere_on_disk(ring, tmp_path):
    _, text = ring.new_key("birds", KeyLimits())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert text.partition(".")[2].encode() not in written


def test_nobody_else_may_read_the_files(ring, tmp_path):
    ring.new_key("birds", KeyLimits())
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_another_ring_over_the_same_folder_knows_the_key(ring, tmp_path):
    key, text = ring.new_key("birds", KeyLimits(inputs=7))
    assert KeyRing(tmp_path / "keys").find(text) == key


def test_a_key_that_another_process_revokes_is_worthless_at_once(ring, tmp_path):
    other = KeyRing(tmp_path / "keys")
    key, text = ring.new_key("birds", KeyLimits())
    _age(ring)
    assert other.find(text) is not None
    assert other.find(text) is not None
    revoked = ring.revoke(key.id)
    assert revoked.revoked_at is not None
    assert other.find(text) is None


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(ring, tmp_path):
    other = KeyRing(tmp_path / "keys")
    key, text = ring.new_key("birds", KeyLimits())
    moment = ring._folder.stat().st_mtime_ns
    assert other.find(text) is not None
    ring.revoke(key.id)
    os.utime(ring._folder, ns=(moment, moment))
    assert other.find(text) is None


def test_a_folder_that_did_not_change_is_not_read_again(ring, monkeypatch):
    _, text = ring.new_key("birds", KeyLimits())
    _age(ring)
    ring.find(text)
    monkeypatch.setattr("orchestration.api.keys._read_key", None)
    assert ring.find(text) is not None


def test_revoking_twice_keeps_the_first_time(ring):
    key, _ = ring.new_key("birds", KeyLimits())
    assert ring.revoke(key.id) == ring.revoke(key.id)


def test_an_unknown_key_cannot_be_revoked(ring):
    with pytest.raises(UserError, match="no key 'x'"):
        ring.revoke("x")


def test_a_revoked_key_still_counts_as_made(ring):
    assert not ring.any_ever()
    key, _ = ring.new_key("birds", KeyLimits())
    ring.revoke(key.id)
    assert ring.any_ever()


def test_keys_are_listed_from_the_oldest(ring):
    made = [ring.new_key(app, KeyLimits())[0] for app in ("z", "a", "m")]
    assert ring.all() == made


def test_an_empty_home_has_no_keys(ring):
    assert ring.all() == []
    assert ring.find("x.y") is None


@given(st.text())
def test_no_other_text_opens(tmp_path_factory, text):
    ring = KeyRing(tmp_path_factory.getbasetemp() / "all-keys")
    if not ring.any_ever():
        ring.new_key("birds", KeyLimits())
    key = ring.all()[0]
    assert ring.find(text) is None
    assert ring.find(f"{key.id}.{text}") is None
    assert ring.find(f"{text}{key.id}") is None


def test_an_unknown_id_is_compared_like_a_known_one(ring, monkeypatch):
    compared = []
    monkeypatch.setattr(
        "orchestration.api.keys.hmac.compare_digest",
        lambda one, other: compared.append((one, other)) or one == other,
    )
    assert ring.find("nobody.x") is None
    ((one, other),) = compared
    assert len(one) == len(other) == 64


def test_a_file_that_is_being_written_is_passed_over(ring, tmp_path):
    key, _ = ring.new_key("birds", KeyLimits())
    (tmp_path / "keys" / ".half.json").write_text("{")
    assert ring.all() == [key]


def test_a_damaged_file_is_named_and_opens_nothing(ring, tmp_path, caplog):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.json").write_text(json.dumps({"id": "a"}))
    assert ring.all() == []
    assert "a.json is not a valid key file" in caplog.text
    # Nor does it open the service to all.
    assert ring.any_ever()
    key, text = ring.new_key("birds", KeyLimits())
    assert ring.find(text) == key


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_second": 0},
        {"requests_per_second": float("nan")},
        {"request_megabytes": float("inf")},
        {"inputs": -1},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limits):
    with pytest.raises(UserError, match=next(iter(limits))):
        KeyLimits(**limits)
