"""From a source to a catalogue of its photos, each decoded once; and one photo at its own size."""

import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import pandas as pd
from PIL import Image

from assets.methods.common.devices import usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.memory import return_free_memory
from assets.methods.common.parallel import unordered_map
from assets.methods.common.progress import Progress, silent
from assets.methods.common.shown_text import hides_secret, without_secrets
from assets.methods.photos.animation import DEFAULT_FRAMES, Frame, frame_id
from assets.methods.photos.companions import companions_table, find_companions, is_named_raw
from assets.methods.photos.decode import (
    DECODE_VERSION,
    decode,
    decode_frames,
    frames_in,
    image_id,
)
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.file_formats import decoded_format
from assets.methods.photos.listing import Listing, SourceFile, protocol_of, remote_file
from assets.methods.photos.local import local_file, local_path
from assets.methods.photos.near_duplicates import mark_duplicates
from assets.methods.photos.opened_file import DecodeLimits, format_of
from assets.methods.photos.photo_store import (
    KnownFile,
    KnownImage,
    LostWorkingCopyError,
    PhotoStore,
    Records,
)
from assets.methods.photos.rejects import Reason, Reject, Rejected, rejects_table
from assets.methods.photos.selection import Selection, read_selection
from assets.methods.photos.source import (
    list_source,
    listing_digest,
    read_bytes,
    read_head,
    read_if_changed,
)

# Downloads mostly wait, so more of them run at a time than there are processors.
_WORKERS_FOR_DOWNLOADS = 16
_IMAGE_LOCKS = 64
# Enough to tell every format that is decoded.
_HEAD_BYTES = 4096
# What is known of a file that begins as no photo does.
_NO_PHOTO = {Reason.EMPTY, Reason.NOT_AN_IMAGE, Reason.UNSUPPORTED}
_RAW_ALONE = Rejected(
    Reason.UNSUPPORTED,
    "This is a camera's raw file, which is not decoded: export it as JPEG, for example.",
)

_IMAGE_DTYPES = {
    "image_id": "string",
    "uri": "string",
    "width": "int64",
    "height": "int64",
    "format": "string",
    "n_bytes": "int64",
    "taken_at": "string",
    "phash": "string",
    "label": "string",
    "note": "string",
}
_IMAGE_COLUMNS = [*list(_IMAGE_DTYPES)[:-2], "duplicate_of", "label", "note"]


@dataclass(frozen=True)
class CatalogueSettings:
    """How a catalogue is made.

    ``near_distance`` is in bits of the perceptual hash; ``workers`` None chooses by the source;
    ``follow_links`` is for links that lead out of a local folder; ``frames`` of an animation are
    kept for its score, and None keeps all. Of a source, ``only`` the photos are catalogued that
    this selection names, a file as for `read_selection`; None takes all.
    """

    decode: DecodeLimits = field(default_factory=DecodeLimits)
    fetch: FetchLimits = field(default_factory=FetchLimits)
    near_distance: int = 4
    workers: int | None = None
    follow_links: bool = False
    frames: int | None = DEFAULT_FRAMES
    only: str | None = None

    def fingerprint(self) -> str:
        """Return a hash of the settings that decide whether and how a file is decoded."""
        deciding = [DECODE_VERSION, asdict(self.decode), self.fetch.max_bytes]
        return hashlib.sha256(repr(deciding).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Catalogue:
    """What a source holds; every file found is an image, a reject or a companion, and only one.

    images: image_id, uri, width, height, format, n_bytes, taken_at, phash, duplicate_of, label,
    note (what had to be guessed to decode the photo), sorted by (image_id, uri). rejects: uri,
    reason, detail, sorted by uri. companions: uri, belongs_to (the uri of a photo, or null), sorted
    by uri. ``n_found`` counts all files, ``n_decoded`` the photos that were not in the store yet.
    ``frames`` is that of `CatalogueSettings`, ``listing`` the `listing_digest` of what was listed.
    """

    images: pd.DataFrame
    rejects: pd.DataFrame
    n_found: int
    n_decoded: int
    # Catalogues of homes of 0.1 have none.
    companions: pd.DataFrame = field(default_factory=companions_table)
    frames: int | None = DEFAULT_FRAMES
    listing: str = ""


def catalogue_photos(
    source: str,
    store: PhotoStore,
    settings: CatalogueSettings | None = None,
    progress: Progress = silent,
) -> Catalogue:
    """Decode the photos of ``source`` that ``store`` does not hold, and catalogue all of them.

    Raises UserError when the source cannot be listed or holds no readable photo. After an
    interrupt, the photos that have been decoded stay in the store.
    """
    settings = settings or CatalogueSettings()
    selection = None if settings.only is None else read_selection(settings.only)
    listing = list_source(source, settings.fetch, settings.follow_links)
    n_files = len(listing.files)
    # The rows of a manifest claim to be photos.
    named = {} if listing.is_manifest else find_companions(listing.files)
    images, companions = [], []
    rejects = list(listing.rejects)
    workers = settings.workers or _workers(listing)
    with store.records(settings.fingerprint()) as records:
        decoder = Decoder(records, settings.decode, settings.frames)
        read = partial(_read, named=named, records=records, decoder=decoder, settings=settings)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
        try:
            outcomes = unordered_map(pool, read, listing.files, 2 * workers)
            for done, (file, verdict) in enumerate(outcomes, start=1):
                if verdict is None:
                    companions.append((file.uri, named[file.uri]))
                elif isinstance(verdict, Rejected):
                    rejects.append(Reject(file.uri, verdict.reason, verdict.detail))
                else:
                    images.append({**vars(verdict), "uri": file.uri, "label": file.label})
                progress(done, n_files)
        finally:
            # After an interrupt, files that are being downloaded are not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            return_free_memory()
    if not images:
        raise UserError(_nothing_readable(source, listing, rejects, len(companions)))
    table = pd.DataFrame(images, columns=list(_IMAGE_DTYPES)).astype(_IMAGE_DTYPES)
    n_found = n_files + len(listing.rejects)
    if selection is not None:
        table = _selected(table, selection, source)
        rejects, companions, n_found = [], [], len(table)
    return Catalogue(
        images=mark_duplicates(table, settings.near_distance)[_IMAGE_COLUMNS],
        rejects=rejects_table(rejects).sort_values("uri", ignore_index=True),
        n_found=n_found,
        n_decoded=decoder.n_decoded,
        companions=companions_table(sorted(companions)),
        frames=settings.frames,
        listing=listing_digest(listing),
    )


def noted_photos(catalogue: Catalogue) -> pd.DataFrame:
    """Return uri and note of the photos of which something had to be guessed, sorted by uri."""
    if "note" not in catalogue.images:
        # A catalogue that was stored before there were notes.
        return pd.DataFrame({"uri": [], "note": []}, dtype="string")
    noted = catalogue.images.dropna(subset="note")
    return noted[["uri", "note"]].sort_values("uri", ignore_index=True)


def shown_photos(catalogue: Catalogue, show_duplicates: bool = False) -> pd.DataFrame:
    """Return image_id, uri and label of the photos that a map shows.

    Exact duplicates are shown once, or all of them if asked for; near duplicates always are.
    """
    images = catalogue.images
    is_copy = (images["duplicate_of"] == images["image_id"]).fillna(False).astype(bool)
    shown = images if show_duplicates else images[~is_copy]
    return shown[["image_id", "uri", "label"]].reset_index(drop=True)


def read_original_file(
    uri: str, settings: CatalogueSettings, expected_id: str | None = None
) -> bytes:
    """Return the bytes of the photo at ``uri``; an address stands for a uri that hides a secret.

    Raises Rejected when it cannot be read, or when ``expected_id`` is given and is not the image_id
    of its bytes.
    """
    data = read_bytes(find_original(uri), settings.fetch)
    if expected_id is not None and image_id(data) != expected_id:
        raise Rejected(
            Reason.UNREADABLE, "The file has changed since it was catalogued: catalogue it again."
        )
    return data


def find_addresses(source: str, uris: Iterable[str], settings: CatalogueSettings) -> dict[str, str]:
    """Return, by uri, the addresses of files whose uri hides a secret, as the source has them.

    A catalogue does not keep them. Those that the source no longer names are missing.
    """
    hidden = {uri for uri in uris if hides_secret(uri)}
    if not hidden:
        return {}
    try:
        listing = list_source(source, settings.fetch, settings.follow_links)
    except UserError:
        return {}
    return {file.uri: file.location for file in listing.files if file.uri in hidden}


def find_original(uri: str) -> SourceFile:
    """Find the file at ``uri`` without opening it; a file that is not local is not looked for.

    Raises Rejected when a local file is missing or cannot be a photo, such as a folder.
    """
    if protocol_of(uri) not in (None, "file"):
        return remote_file(uri)
    found = local_file(local_path(uri))
    if isinstance(found, Reject):
        raise Rejected(found.reason, found.detail)
    return found


class Decoder:
    """Decodes photos into the store, each of them once; safe among threads.

    ``frames`` of an animation are stored for its score, all if None. ``n_decoded`` is the number of
    photos that were decoded, as the store did not hold them.
    """

    def __init__(
        self, records: Records, limits: DecodeLimits, frames: int | None = DEFAULT_FRAMES
    ) -> None:
        self._records = records
        self._limits = limits
        self._frames = frames
        self._counting = threading.Lock()
        # Copies of one photo that are read at the same time must be decoded once.
        self._image_locks = [threading.Lock() for _ in range(_IMAGE_LOCKS)]
        # Many threads download, but only one per processor decodes: pixels take the most memory.
        self._processors = threading.BoundedSemaphore(usable_cores())
        self.n_decoded = 0

    def decode(self, data: bytes) -> KnownImage:
        """Return what the store holds of the photo with these bytes. Raises Rejected."""
        identity = image_id(data)
        with self._image_locks[int(identity[:4], 16) % _IMAGE_LOCKS]:
            known = self._records.image(identity)
            if known is not None and self.has_frames(known):
                return known
            with self._processors:
                if known is not None and frames_in(data, self._limits) == 1:
                    self._records.keep_frame_count(identity, 1)
                    return known
                photo = decode(data, self._limits)
                if photo.n_frames > 1:
                    self._keep_frames(identity, data, photo.shown)
            image = self._records.keep_image(identity, len(data), photo)
            self._records.keep_frame_count(identity, photo.n_frames)
        with self._counting:
            self.n_decoded += 1
        return image

    def has_frames(self, image: KnownImage) -> bool:
        """Whether the frames are stored that are scored, or the photo is known to have none."""
        return self._records.has_frames(image, self._frames)

    def _keep_frames(self, image_id: str, data: bytes, shown: int) -> None:
        store = self._records.store

        def keep(frame: Frame, working_copy: Image.Image) -> None:
            store.keep_frame(image_id, frame, working_copy)

        found = decode_frames(data, self._limits, self._frames, keep, shown)
        # Another collection may want another number of frames.
        try:
            earlier = store.animation(image_id)
        except LostWorkingCopyError:
            earlier = None
        if earlier is not None and (earlier.n_read, earlier.shown) == (found.n_read, found.shown):
            there = [
                frame
                for frame in earlier.kept
                if store.has_working_copy(frame_id(image_id, frame.number))
            ]
            kept = {frame.number: frame for frame in (*there, *found.kept)}
            found = replace(found, kept=tuple(kept[number] for number in sorted(kept)))
        store.keep_animation(image_id, found)


def _read(
    file: SourceFile,
    named: Collection[str],
    records: Records,
    decoder: Decoder,
    settings: CatalogueSettings,
) -> KnownImage | Rejected | None:
    """Return the photo in a file, or why there is none; None if the file is a companion.

    ``named`` are the uris of files whose names are those of companions. As little as possible is
    read and decoded.
    """
    known = records.file(file.uri)
    if file.uri in named and not _begins_as_photo(file, known, records):
        return None
    if known and isinstance(known.verdict, KnownImage) and not decoder.has_frames(known.verdict):
        known = None
    try:
        content = read_if_changed(file, settings.fetch, known.stamp if known else None)
    except Rejected as rejected:
        # It is not recorded: the file is read again the next time.
        return rejected
    if content.data is None and known is not None:
        is_raw = isinstance(known.verdict, KnownImage) and _is_raw(file, known.verdict.format)
        return _RAW_ALONE if is_raw else known.verdict
    data = content.data or b""
    if _is_raw(file, decoded_format(data)):
        return _RAW_ALONE
    try:
        photo = decoder.decode(data)
    except Rejected as rejected:
        records.keep_file(file.uri, KnownFile(content.stamp, rejected))
        return rejected
    records.keep_file(file.uri, KnownFile(content.stamp, photo))
    return photo


def _begins_as_photo(file: SourceFile, known: KnownFile | None, records: Records) -> bool:
    """Return whether a file with the name of a companion holds a photo all the same."""
    if known is not None and file.stamp is not None and known.stamp == file.stamp:
        if isinstance(known.verdict, KnownImage):
            return not _is_raw(file, known.verdict.format)
        if known.verdict.reason in _NO_PHOTO:
            return False
    try:
        head = read_head(file, _HEAD_BYTES)
    except Rejected:
        return False
    try:
        image_format = format_of(head)
    except Rejected as rejected:
        # It is recorded, so that a store is not asked for it at each run.
        records.keep_file(file.uri, KnownFile(file.stamp, rejected))
        return False
    return not _is_raw(file, image_format)


def _is_raw(file: SourceFile, image_format: str | None) -> bool:
    """Return whether a file is a camera's raw file; many begin as a TIFF file with a preview."""
    return image_format == "TIFF" and is_named_raw(file.uri)


def _selected(images: pd.DataFrame, selection: Selection, source: str) -> pd.DataFrame:
    found = images[images.image_id.isin(list(selection.labels))]
    if found.empty:
        raise UserError(
            f"None of the {len(selection.labels):,} photos of the selection {selection.location} "
            f"is in {without_secrets(source)}."
        )
    return found


def _workers(listing: Listing) -> int:
    is_remote = not all(file.uri.startswith(("/", "file://")) for file in listing.files)
    return _WORKERS_FOR_DOWNLOADS if is_remote else usable_cores()


def _nothing_readable(
    source: str, listing: Listing, rejects: list[Reject], n_companions: int
) -> str:
    source = without_secrets(source)
    ignored = f"; {listing.ignored:,} hidden or system entries were ignored" * (listing.ignored > 0)
    if n_companions:
        ignored = f"; {n_companions:,} only accompany photos{ignored}"
    if not rejects:
        return f"There are no {'photos' if n_companions else 'files'} in {source}{ignored}."
    counts = Counter(reject.reason.value for reject in rejects)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    example = min(rejects, key=lambda reject: reject.uri)
    if listing.is_manifest and len(rejects) == 1:
        return f"{example.uri} is not a readable photo ({example.reason.value}): {example.detail}"
    return (
        f"None of the {len(rejects):,} files in {source} is a readable photo ({by_reason}"
        f"{ignored}). For example {example.uri}: {example.detail}"
    )
