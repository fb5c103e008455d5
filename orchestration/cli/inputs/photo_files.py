"""What `tessera score` takes: a folder, a URL or a manifest, or else photos, which become one."""

import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown_uri
from assets.methods.photos.listing import WEB, protocol_of
from assets.methods.photos.local import local_path, local_uri
from assets.methods.photos.manifest import is_manifest
from assets.resources.collections import DEMO_SOURCE, INPUTS_SOURCE, manifest_of_files
from orchestration.cli.common.collection_runs import name_for, name_for_files

ALTERNATIVES = "give one folder, URL or manifest alone, or else photos"


@dataclass(frozen=True)
class NamedSource:
    """The source of a collection, a name made for it, and the photos if they were named one by one.

    The same photos, in any order, have the same source and the same name.
    """

    source: str
    name: str
    photos: tuple[str, ...] = ()


def named_source(named: Sequence[str]) -> NamedSource:
    """Return what was named on the command line as the source of a collection.

    Photos become a manifest in the home. Raises UserError if something that is no photo stands
    beside others, or if a single one is not there.
    """
    if len(named) == 1 and not _is_photo(named[0]):
        is_path = protocol_of(named[0]) is None and named[0] not in (DEMO_SOURCE, INPUTS_SOURCE)
        if is_path and not os.path.lexists(named[0]):
            raise UserError(f"There is no folder, manifest or photo {shown_uri(named[0])}.")
        return NamedSource(named[0], name_for(named[0]))
    for one in named:
        if not _is_photo(one):
            raise UserError(_why_no_photo(one))
    photos = tuple(sorted({_uri(one) for one in named}))
    return NamedSource(str(manifest_of_files(photos)), name_for_files(photos), photos)


def _is_photo(named: str) -> bool:
    """Return whether this names a single file to be read as a photo."""
    if _is_local(named):
        path = local_path(named)
        return os.path.isfile(path) and not is_manifest(path)
    if protocol_of(named) in WEB:
        return not is_manifest(urlsplit(named).path)
    # What is in a store may be a folder as well, and its name decides.
    kind, _ = mimetypes.guess_type(named)
    return kind is not None and kind.startswith("image/")


def _why_no_photo(named: str) -> str:
    path = Path(local_path(named))
    if _is_local(named) and not os.path.lexists(path):
        return f"There is no photo {shown_uri(named)}."
    what = "a folder" if _is_local(named) and path.is_dir() else "no photo"
    if is_manifest(named):
        what = "a manifest"
    return f"{shown_uri(named)} is {what}: {ALTERNATIVES}."


def _uri(named: str) -> str:
    return local_uri(os.path.abspath(local_path(named))) if _is_local(named) else named


def _is_local(named: str) -> bool:
    return protocol_of(named) in (None, "file")
