import pytest

from assets.methods.photos.rejects import Reason, Rejected
from assets.methods.photos.source import (
    SourceFile,
    list_source,
    read_bytes,
    read_if_changed,
)
from support.sources import LIMITS


def test_a_remote_folder(memory):
    memory.pipe("/bucket/photos/a%20b?.jpg", b"a")
    memory.pipe("/bucket/photos/deep/b.jpg", b"b")
    memory.pipe("/bucket/photos/.hidden/c.jpg", b"c")
    memory.pipe("/bucket/other.jpg", b"d")
    listing = list_source("memory://bucket/photos")
    assert [file.uri for file in listing.files] == [
        "memory:///bucket/photos/a%20b?.jpg",
        "memory:///bucket/photos/deep/b.jpg",
    ]
    assert listing.ignored == 1
    assert [read_bytes(file, LIMITS) for file in listing.files] == [b"a", b"b"]
    assert list_source("memory://bucket/photos") == listing


def test_remote_stamps(memory):
    memory.pipe("/photos/a.jpg", b"a")
    (before,) = list_source("memory://photos").files
    assert read_if_changed(before, LIMITS, before.stamp).data is None
    memory.pipe("/photos/a.jpg", b"abc")
    (after,) = list_source("memory://photos").files
    assert before.stamp != after.stamp
    # A file of a manifest has no stamp until it is asked for.
    unstamped = SourceFile("memory://photos/a.jpg", None, None)
    content = read_if_changed(unstamped, LIMITS, None)
    assert content.data == b"abc"
    assert read_if_changed(unstamped, LIMITS, content.stamp).data is None


def test_remote_refusals(memory):
    memory.pipe("/photos/a.jpg", b"x" * 2000)
    with pytest.raises(Rejected) as large:
        read_bytes(SourceFile("memory://photos/a.jpg", None, None), LIMITS)
    assert large.value.reason == Reason.TOO_LARGE
    with pytest.raises(Rejected) as gone:
        read_bytes(SourceFile("memory://photos/gone.jpg", None, None), LIMITS)
    assert gone.value.reason == Reason.DOWNLOAD_FAILED
