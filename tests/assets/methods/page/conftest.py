"""An album whose file names are as bad as names can be, and its page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assets.methods.page.page import PageReport, PageSettings, write_page
from support.album import Album, explained_album, make_album


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """Not to be changed."""
    return make_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def page_folder(album, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the album; not to be changed."""
    folder = tmp_path_factory.mktemp("page") / "page"
    contents = replace(album.contents, explained=explained_album(album))
    write_page(folder, contents, album.load)
    return folder


@pytest.fixture
def write(album, tmp_path) -> Callable[..., PageReport]:
    """Writes a page of the album, or of what was changed of it, into the test's own folder."""

    def write_again(settings: PageSettings | None = None, **changed: object) -> PageReport:
        contents = replace(album.contents, **{"explained": explained_album(album), **changed})
        return write_page(tmp_path / "page", contents, album.load, settings)

    return write_again
