"""A photo of a catalogue once more at its own size: working copies are smaller."""

from PIL import Image

from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import decode_image, image_id
from assets.methods.photos.listing import SourceFile, protocol_of
from assets.methods.photos.local import local_file, local_path
from assets.methods.photos.rejects import Reason, Reject, Rejected
from assets.methods.photos.source import read_bytes


def read_original(
    uri: str, settings: CatalogueSettings, expected_id: str | None = None
) -> Image.Image:
    """Return the photo at ``uri`` at its full size, upright, RGB.

    Raises Rejected when it cannot be read or decoded, or when its bytes are not those of the
    photo with ``expected_id`` any more.
    """
    data = read_bytes(find_original(uri), settings.fetch)
    if expected_id is not None and image_id(data) != expected_id:
        raise Rejected(
            Reason.UNREADABLE, "The file has changed since it was catalogued: catalogue it again."
        )
    return decode_image(data, settings.decode)


def find_original(uri: str) -> SourceFile:
    """Look at the file at ``uri`` without opening it; one that is not local is not looked at.

    Raises Rejected when it is not there or no file.
    """
    if protocol_of(uri) not in (None, "file"):
        return SourceFile(uri, stamp=None, n_bytes=None)
    found = local_file(local_path(uri))
    if isinstance(found, Reject):
        raise Rejected(found.reason, found.detail)
    return found
