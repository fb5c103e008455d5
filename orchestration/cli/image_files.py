"""Images named on the command line: looked at before the work begins, then read one by one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from assets.config import RawImagesConfig
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.listing import protocol_of
from assets.methods.photos.local import local_uri
from assets.methods.photos.originals import find_original, read_original
from assets.methods.photos.rejects import Rejected
from assets.results.originals import file_name, folder_names
from orchestration.cli.options import Options

Notify = Callable[[str], None]


@dataclass(frozen=True)
class ImageFile:
    """An image that was read: its number from 1, its uri and name, and the folder for results."""

    number: int
    uri: str
    name: str
    folder: str
    picture: Image.Image


class ImageFiles:
    """The images that can be opened; ``notify`` gets a sentence on each that cannot."""

    def __init__(self, images: Sequence[str], notify: Notify) -> None:
        self._notify = notify
        self._found = [image for image in images if self._is_there(image)]
        self.all_read = len(self._found) == len(images)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def read(self, reading: CatalogueSettings) -> Iterator[ImageFile]:
        """Yield each image, one at a time; ``all_read`` says at the end whether none was left out.

        One that cannot be read is reported, and the others follow all the same.
        """
        folders = folder_names(self._found)
        for number, (image, folder) in enumerate(zip(self._found, folders, strict=True), 1):
            uri = _uri(image)
            try:
                picture = read_original(uri, reading)
            except Rejected as rejected:
                self._leave_out(image, rejected.detail)
                continue
            yield ImageFile(number, uri, file_name(uri), folder, picture)

    def _is_there(self, image: str) -> bool:
        try:
            find_original(_uri(image))
        except Rejected as rejected:
            hint = " Folders are what tessera score takes." if Path(image).is_dir() else ""
            self._leave_out(image, rejected.detail + hint)
            return False
        return True

    def _leave_out(self, image: str, why: str) -> None:
        self._notify(f"tessera: {click.format_filename(image)} was left out: {why}")
        self.all_read = False


def reading_settings(options: Options) -> CatalogueSettings:
    """Return how images are read that somebody named: none is too small."""
    given = options.given.get(RawImagesConfig, {})
    return RawImagesConfig(**given, min_side=1).settings()


def _uri(image: str) -> str:
    return local_uri(str(Path(image).absolute())) if protocol_of(image) is None else image
