"""Versions in the addresses of a page's files: the cache of a web host never mixes two maps.

A tile has its own, so that a browser goes on using tiles that a later map has, too. The other files
have that of the whole map. From the disk a browser passes over them.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from assets.methods.page.folder import PageFile
from assets.methods.page.tiles import Pyramid, tile_name

_DIGITS = 12
_ADDRESS = re.compile(r'\b(src|href)="((?:page|leaflet|data)/[^"?]+)"')


def versions_of(files: Mapping[str, PageFile], pyramid: Pyramid) -> dict[str, Any]:
    """Return what the page has to know: ``version`` of its files, and ``tileVersions``, uint32.

    The latter are in the order of zooms, from the coarsest, and row by row; 0 for a tile that is
    not there.
    """
    whole = hashlib.sha256()
    for name in sorted(files):
        if not name.startswith("tiles/"):
            whole.update(f"{name}\n{files[name].sha256}\n".encode())
    names = (
        tile_name(zoom, place)
        for zoom in range(pyramid.coarsest, pyramid.deepest + 1)
        for place in pyramid.places(zoom)
    )
    versions = [int(files[name].sha256[:8], 16) if name in files else 0 for name in names]
    return {
        "version": whole.hexdigest()[:_DIGITS],
        "tileVersions": np.array(versions, np.uint32),
    }


def with_versions(index: str, files: Mapping[str, PageFile]) -> str:
    """Return an index whose addresses of scripts and styles have the versions of these files."""

    def versioned(found: re.Match[str]) -> str:
        attribute, name = found.groups()
        return f'{attribute}="{name}?v={files[name].sha256[:_DIGITS]}"'

    return _ADDRESS.sub(versioned, index)
