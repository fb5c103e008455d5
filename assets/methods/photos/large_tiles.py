"""The images of tiles that are larger than working copies: originals, read a tile at a time."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

from PIL import Image

from assets.methods.common.devices import usable_cores
from assets.methods.common.shown_text import shown, shown_uri
from assets.methods.photos.catalogue import CatalogueSettings, read_original_file
from assets.methods.photos.decode import WORKING_LONG_SIDE, WORKING_SHORT_SIDE, decode_scaled
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Rejected

# Reading mostly waits when the originals are on another machine.
READERS = 16
# The last scaling then takes the average of pixels, and the tile is sharp.
_PIXELS_A_SIDE = 2


class LargeTiles:
    """Draws tiles from images with enough pixels; called from up to ``READERS`` threads.

    It is the working copy if that has enough pixels or as many as the original, or if the original
    cannot be read any more: ``unread`` then has a uri of it, and why.

    Args:
        store: the working copies.
        photos: the image_id and a uri or address of each photo, one after another.
        settings: how originals are read.
        tile: side of a tile in px, more than a working copy's shorter side.
        whole: whether the tile shows the whole photo, instead of the square in its centre.
        finish: makes the tile of an image; the image takes more memory, and is given up then.
    """

    def __init__(
        self,
        store: PhotoStore,
        photos: Iterable[tuple[str, str]],
        settings: CatalogueSettings,
        tile: int,
        *,
        whole: bool,
        finish: Callable[[Image.Image], Image.Image],
    ) -> None:
        self._store = store
        self._settings = settings
        self._tile = tile
        self._whole = whole
        self._finish = finish
        self._uris: dict[str, list[str]] = defaultdict(list)
        for image_id, uri in photos:
            self._uris[image_id].append(uri)
        # Many threads read, but only one per processor decodes: pixels take the most memory.
        self._processors = threading.BoundedSemaphore(usable_cores())
        self.unread: dict[str, str] = {}

    def __call__(self, image_id: str) -> Image.Image:
        """Return the tile of a photo. Raises FileNotFoundError without a working copy."""
        copy = self._store.open_working_copy(image_id)
        if self._is_enough(copy.size):
            return self._finish(copy)
        rejected = None
        for uri in self._uris[image_id]:
            try:
                return self._read(uri, image_id)
            except Rejected as error:
                rejected = rejected or (uri, error.detail)
        if rejected is not None:
            uri, self.unread[uri] = rejected
        return self._finish(copy)

    def note(self, n_tiles: int) -> str | None:
        """Return a sentence on the originals that could not be read, if there are any."""
        if not self.unread:
            return None
        uri = min(self.unread)
        return (
            f"{len(self.unread):,} of {n_tiles:,} tiles are enlarged, because their originals could"
            f" not be read. For example {shown_uri(uri)}:"
            f" {shown(self.unread[uri])}"
        )

    def _is_enough(self, size: tuple[int, int]) -> bool:
        # A working copy that is smaller than its limits has all pixels of its original.
        is_original = min(size) < WORKING_SHORT_SIDE and max(size) < WORKING_LONG_SIDE
        return is_original or (max(size) if self._whole else min(size)) >= self._tile

    def _read(self, uri: str, image_id: str) -> Image.Image:
        data = read_original_file(uri, self._settings, image_id)
        with self._processors:
            side = _PIXELS_A_SIDE * self._tile
            image = decode_scaled(data, self._settings.decode, side, longer=self._whole)
            return self._finish(image)
