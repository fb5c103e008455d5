"""Addresses with versions: what stays keeps its address, and what changes has another."""

import base64

import numpy as np
import pytest

from assets.methods.page.folder import PageFile
from assets.methods.page.scripts import fields_of
from assets.methods.page.tiles import plan_pyramid
from assets.methods.page.versions import versions_of, with_versions


def file_of(letter: str) -> PageFile:
    return PageFile("", 0, letter * 64)


def test_each_tile_has_its_own_version_in_the_order_of_the_page():
    # 40 columns of 16 px are two tiles across, and the zoom above is one.
    pyramid = plan_pyramid(40, 3, 700_000)
    assert (pyramid.coarsest, pyramid.deepest) == (3, 5)
    files = {"tiles/3/0-0.jpg": file_of("a"), "tiles/5/1-0.jpg": file_of("b")}
    known = versions_of(files, pyramid)
    assert known["tileVersions"].tolist() == [0xAAAAAAAA, 0, 0, 0, 0xBBBBBBBB, 0]
    assert known["tileVersions"].dtype == np.uint32
    other = versions_of(files | {"data/names-0.js": file_of("c")}, pyramid)
    assert other["version"] != known["version"]
    assert (
        versions_of(files | {"tiles/5/1-0.jpg": file_of("c")}, pyramid)["version"]
        == (known["version"])
    )


def test_scripts_and_styles_have_versions_and_other_addresses_stay():
    index = '<a href="#map"><link href="data:,"><script defer src="page/page.js"></script>'
    shown = with_versions(index, {"page/page.js": file_of("d")})
    assert shown == index.replace("page.js", "page.js?v=dddddddddddd")


def test_an_address_of_a_file_that_is_not_there_is_a_fault():
    with pytest.raises(KeyError):
        with_versions('<script src="page/gone.js">', {})


def test_a_page_of_other_photos_has_other_versions_of_these_tiles_alone(write, album, tmp_path):
    def versions() -> tuple[str, list[int]]:
        fields = fields_of((tmp_path / "page" / "data" / "map.js").read_bytes())
        column = np.frombuffer(base64.b64decode(fields["tileVersions"]["base64"]), "<u4")
        return fields["version"], column.tolist()

    write()
    version, tiles = versions()
    assert all(tiles)
    write()
    assert versions() == (version, tiles)
    layout = album.contents.layout
    write(layout=layout.drop(index=[0]))
    other, fewer = versions()
    assert other != version
    same = [one == two for one, two in zip(tiles, fewer, strict=True)]
    # The photo was in one tile of each zoom.
    assert same.count(True) > 0
    assert not same[0]
    index = (tmp_path / "page" / "index.html").read_text()
    assert 'src="data/map.js?v=' in index
    assert 'src="page/page.js?v=' in index
