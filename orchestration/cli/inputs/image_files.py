"""Images named on the command line: looked at before the work begins, then read one by one."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from assets.config import RawImagesConfig
from assets.methods.attribution.target import Target
from assets.methods.common.shown_text import shown, shown_uri
from assets.methods.photos.catalogue import CatalogueSettings, find_original
from assets.methods.photos.listing import protocol_of
from assets.methods.photos.local import local_uri
from assets.methods.photos.rejects import Rejected
from assets.results.originals import Original, read_originals
from orchestration.cli.common.options import Options

Notify = Callable[[str], None]


class ImageFiles:
    """The images that can be opened; ``notify`` gets a sentence on each that cannot."""

    def __init__(self, images: Sequence[str], notify: Notify) -> None:
        self._notify = notify
        self._found = [image for image in images if self._is_there(image)]
        self.all_read = len(self._found) == len(images)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def read(self, reading: CatalogueSettings, target: Target | None = None) -> Iterator[Original]:
        """Yield the images that can be read, one at a time, as ``read_originals`` does.

        One that cannot be read is reported, and the others follow all the same. At the end
        ``all_read`` says whether there was none of them.
        """

        def leave_out(number: int, rejected: Rejected) -> None:
            self._leave_out(self._found[number - 1], rejected.detail)

        return read_originals(
            [_uri(image) for image in self._found], reading, leave_out, target=target
        )

    def _is_there(self, image: str) -> bool:
        try:
            find_original(_uri(image))
        except Rejected as rejected:
            hint = " Folders are what tessera score takes." if Path(image).is_dir() else ""
            self._leave_out(image, rejected.detail + hint)
            return False
        return True

    def _leave_out(self, image: str, why: str) -> None:
        name = shown_uri(image)
        self._notify(f"tessera: {name} was left out: {shown(why)}")
        self.all_read = False


def reading_settings(options: Options) -> CatalogueSettings:
    """Return how images are read that somebody named: none is too small."""
    given = options.given.get(RawImagesConfig, {})
    return RawImagesConfig(**given, min_side=1).settings()


def _uri(image: str) -> str:
    return local_uri(str(Path(image).absolute())) if protocol_of(image) is None else image
