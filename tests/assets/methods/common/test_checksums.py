import hashlib
import json

import pytest

from assets.methods.common.checksums import (
    SEAL_BYTES,
    DamagedFileError,
    digest_of_file,
    read_checked_json,
    read_sealed,
    seal,
    write_checked_json,
    write_sealed,
)


def test_a_seal_is_the_digest_of_the_key_and_the_content(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, b"content", "key")
    digest = hashlib.sha256(b"key\x00content").digest()
    assert path.read_bytes() == b"content\x00TESSERA" + digest
    assert read_sealed(path, "key") == (b"content", True)


def test_a_file_without_a_seal_is_adopted_and_sealed_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert read_sealed(path, "key") == (b"content", False)
    seal(path, b"content", "key")
    assert read_sealed(path, "key") == (b"content", True)
    before = path.stat().st_mtime_ns
    seal(path, b"content", "key")
    assert path.stat().st_mtime_ns == before
    seal(tmp_path / "gone", b"content", "key")


@pytest.mark.parametrize("place", [0, 6, 7 + SEAL_BYTES - 1])
def test_one_changed_byte_is_recognised(tmp_path, place):
    path = tmp_path / "file"
    write_sealed(path, b"content", "key")
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="does not have the content that was written"):
        read_sealed(path, "key")


def test_the_valid_file_of_another_key_is_recognised(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, b"content", "other")
    with pytest.raises(DamagedFileError):
        read_sealed(path, "key")


def test_a_json_object_has_its_checksum_among_its_entries(tmp_path):
    path = tmp_path / "file.json"
    write_checked_json(path, {"name": "birds", "n": 1}, "key")
    assert read_checked_json(path, "key") == ({"name": "birds", "n": 1}, True)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "n": 2}))
    with pytest.raises(DamagedFileError):
        read_checked_json(path, "key")
    path.write_text(json.dumps({"n": 2}))
    assert read_checked_json(path, "key") == ({"n": 2}, False)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_what_is_no_json_object_is_damaged(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(DamagedFileError):
        read_checked_json(path, "key")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert digest_of_file(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
