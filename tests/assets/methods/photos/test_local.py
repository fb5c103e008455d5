import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.photos.local import local_path, local_uri
from assets.methods.photos.rejects import Reason, Rejected
from assets.methods.photos.source import (
    Listing,
    SourceFile,
    list_source,
    read_bytes,
)
from support.sources import LIMITS, NAMES, names, refused, write


def test_a_folder_and_what_is_below(tmp_path):
    for name in ("b.jpg", "a/z.png", "a/b/c.txt"):
        write(tmp_path / name)
    listing = list_source(str(tmp_path))
    assert names(listing, tmp_path) == ["a/b/c.txt", "a/z.png", "b.jpg"]
    assert [file.n_bytes for file in listing.files] == [1, 1, 1]
    assert listing.rejects == ()
    assert listing.ignored == 0


def test_an_empty_folder(tmp_path):
    assert list_source(str(tmp_path)) == Listing((), (), 0)


def test_a_relative_folder(tmp_path, monkeypatch):
    write(tmp_path / "photos" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert list_source("photos").files[0].uri == str(tmp_path / "photos" / "a.jpg")


def test_hidden_and_system_files_are_ignored(tmp_path):
    write(tmp_path / "seen.jpg")
    for name in (".DS_Store", "._seen.jpg", "Thumbs.db", "desktop.ini", ".git/x", "__MACOSX/y"):
        write(tmp_path / name)
    write(tmp_path / "deep" / "@eaDir" / "seen.jpg")
    listing = list_source(str(tmp_path))
    assert names(listing, tmp_path) == ["seen.jpg"]
    assert listing.ignored == 7


@pytest.mark.parametrize("name", NAMES)
def test_names_are_data(tmp_path, name):
    write(tmp_path / name, name.encode())
    (file,) = list_source(str(tmp_path)).files
    assert file.uri == str(tmp_path / name)
    assert read_bytes(file, LIMITS) == name.encode()


def test_names_that_are_not_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9 %.jpg"
    with open(path, "wb") as opened:
        opened.write(b"coffee")
    (file,) = list_source(str(tmp_path)).files
    assert file.uri == f"file://{quote(str(tmp_path))}/caf%E9%20%25.jpg"
    assert read_bytes(file, LIMITS) == b"coffee"


def test_folders_whose_names_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with open(folder + b"/a.jpg", "wb") as opened:
        opened.write(b"a")
    assert read_bytes(list_source(str(tmp_path)).files[0], LIMITS) == b"a"
    assert read_bytes(list_source(os.fsdecode(folder)).files[0], LIMITS) == b"a"


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_any_path_survives_the_way_to_a_uri_and_back(name):
    path = "/" + os.fsdecode(name)
    uri = local_uri(path)
    assert uri.encode("utf-8")
    assert local_path(uri) == path


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path / "z" / "a.jpg")
    (tmp_path / "z" / "up").symlink_to(tmp_path)
    (tmp_path / "a_link").symlink_to(tmp_path / "z")
    (tmp_path / "file_link.jpg").symlink_to(tmp_path / "z" / "a.jpg")
    listing = list_source(str(tmp_path))
    assert names(listing, tmp_path) == ["file_link.jpg", "z/a.jpg"]


def test_a_linked_folder_outside_is_entered_once(tmp_path):
    write(tmp_path / "outside" / "a.jpg")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "one").symlink_to(tmp_path / "outside")
    (inside / "two").symlink_to(tmp_path / "outside")
    assert names(list_source(str(inside), follow_links=True), inside) == ["one/a.jpg"]


def test_links_out_of_the_folder_are_listed_and_not_followed(tmp_path):
    outside = write(tmp_path / "outside" / "a.jpg")
    write(tmp_path / "inside-too" / "b.jpg")
    inside = tmp_path / "inside"
    write(inside / "deep" / "own.jpg")
    (inside / "deep" / "file.jpg").symlink_to(outside)
    (inside / "folder").symlink_to("../outside", target_is_directory=True)
    # A name that begins like that of the folder, and a link to a link.
    (inside / "beside").symlink_to(tmp_path / "inside-too")
    (inside / "again.jpg").symlink_to(inside / "deep" / "file.jpg")
    (inside / "own.jpg").symlink_to("deep/own.jpg")
    (inside / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    listing = list_source(str(inside))
    assert names(listing, inside) == ["deep/own.jpg", "own.jpg"]
    reasons = {os.path.relpath(reject.uri, inside): reject.reason for reject in listing.rejects}
    assert reasons == {
        "again.jpg": Reason.NOT_FOLLOWED,
        "beside": Reason.NOT_FOLLOWED,
        "broken.jpg": Reason.UNREADABLE,
        "deep/file.jpg": Reason.NOT_FOLLOWED,
        "folder": Reason.NOT_FOLLOWED,
    }
    followed = list_source(str(inside), follow_links=True)
    assert [reject.uri for reject in followed.rejects] == [str(inside / "broken.jpg")]
    assert len(followed.files) == 6


def test_a_source_that_is_a_link_itself_is_followed(tmp_path):
    write(tmp_path / "real" / "a.jpg")
    (tmp_path / "real" / "again.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    listing = list_source(str(tmp_path / "link"))
    assert names(listing, tmp_path) == ["link/a.jpg", "link/again.jpg"]


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    rejects = list_source(str(tmp_path)).rejects
    assert [reject.reason for reject in rejects] == [Reason.UNREADABLE] * 2
    assert rejects[0].detail == "The link leads nowhere: no such file or directory."


def test_pipes_and_sockets_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.jpg"))
        listing = list_source(str(tmp_path))
    assert [reject.reason for reject in listing.rejects] == [Reason.UNSUPPORTED] * 2


def test_a_pipe_that_takes_a_files_place_does_not_hang(tmp_path):
    path = write(tmp_path / "a.jpg")
    (file,) = list_source(str(tmp_path)).files
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Rejected, match="replaced"):
        read_bytes(file, LIMITS)


def denied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny reading a folder; by pretence, since permissions do not bind root."""
    scandir = os.scandir

    def refusing(folder: str) -> object:
        if folder == str(path):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_folder_without_permission_is_one_reject(tmp_path, monkeypatch):
    write(tmp_path / "open" / "a.jpg")
    write(tmp_path / "closed" / "b.jpg")
    denied(tmp_path / "closed", monkeypatch)
    listing = list_source(str(tmp_path))
    assert names(listing, tmp_path) == ["open/a.jpg"]
    (reject,) = listing.rejects
    assert (reject.uri, reject.reason) == (str(tmp_path / "closed"), Reason.UNREADABLE)
    assert reject.detail == "The folder cannot be read: permission denied."


def test_a_source_without_permission(tmp_path, monkeypatch):
    denied(tmp_path, monkeypatch)
    assert "permission denied" in refused(str(tmp_path))


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights for a while; only root can."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_permissions_that_bind():
    # Not below tmp_path, whose parents are closed to others.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "a.jpg").chmod(0)
        write(folder / "closed" / "b.jpg").parent.chmod(0)
        with nobody():
            listing = list_source(name)
            with pytest.raises(Rejected, match="permission denied"):
                read_bytes(listing.files[0], LIMITS)
    assert names(listing, folder) == ["a.jpg"]
    assert [reject.uri for reject in listing.rejects] == [str(folder / "closed")]


def test_the_byte_limit(tmp_path):
    path = write(tmp_path / "a.jpg", b"x" * 1001)
    (file,) = list_source(str(tmp_path)).files
    with pytest.raises(Rejected) as caught:
        read_bytes(file, LIMITS)
    assert caught.value.reason == Reason.TOO_LARGE
    assert caught.value.detail == "The file has 1,001 bytes; at most 1,000 bytes are read."
    unknown = SourceFile(str(path), file.stamp, n_bytes=None)
    with pytest.raises(Rejected, match="too large"):
        read_bytes(unknown, LIMITS)


def test_files_that_vanish_or_change(tmp_path):
    path = write(tmp_path / "a.jpg")
    (file,) = list_source(str(tmp_path)).files
    path.write_bytes(b"longer")
    with pytest.raises(Rejected, match="changed"):
        read_bytes(file, LIMITS)
    path.unlink()
    with pytest.raises(Rejected) as caught:
        read_bytes(file, LIMITS)
    assert caught.value.reason == Reason.UNREADABLE
