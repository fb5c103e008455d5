"""From a source to a catalogue: every file found is read, decoded once, and accounted for."""

import hashlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import pandas as pd

from assets.methods.common.devices import usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.parallel import unordered_map
from assets.methods.common.progress import Progress, silent
from assets.methods.photos.decode import DECODE_VERSION, DecodeLimits, decode, image_id
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.near_duplicates import mark_duplicates
from assets.methods.photos.photo_store import KnownFile, KnownImage, PhotoStore, Records
from assets.methods.photos.rejects import Reject, Rejected
from assets.methods.photos.source import Listing, SourceFile, list_source, read_if_changed

# Downloads mostly wait, so more of them run at a time than there are processors.
_WORKERS_FOR_DOWNLOADS = 16
_IMAGE_LOCKS = 64

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
}
_IMAGE_COLUMNS = [*list(_IMAGE_DTYPES)[:-1], "duplicate_of", "label"]
_REJECT_DTYPES = {"uri": "string", "reason": "string", "detail": "string"}


@dataclass(frozen=True)
class CatalogueSettings:
    """How a catalogue is made.

    ``near_distance`` is in bits of the perceptual hash; ``workers`` None chooses by the source.
    """

    decode: DecodeLimits = field(default_factory=DecodeLimits)
    fetch: FetchLimits = field(default_factory=FetchLimits)
    near_distance: int = 4
    workers: int | None = None

    def fingerprint(self) -> str:
        """A hash of all that decides what becomes of a file's bytes."""
        deciding = [DECODE_VERSION, asdict(self.decode), self.fetch.max_bytes]
        return hashlib.sha256(repr(deciding).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Catalogue:
    """What a source holds; every file found is in exactly one of ``images`` and ``rejects``.

    images: image_id, uri, width, height, format, n_bytes, taken_at, phash, duplicate_of, label,
    sorted by (image_id, uri). rejects: uri, reason, detail, sorted by uri. ``n_decoded`` counts
    the photos that were not in the store yet.
    """

    images: pd.DataFrame
    rejects: pd.DataFrame
    n_found: int
    n_decoded: int


def catalogue_photos(
    source: str,
    store: PhotoStore,
    settings: CatalogueSettings | None = None,
    progress: Progress = silent,
) -> Catalogue:
    """Read what is new in ``source`` into ``store`` and give the catalogue of all that it holds.

    Raises UserError when the source cannot be listed or holds no readable photo. When interrupted,
    the photos that were decoded until then stay in the store.
    """
    settings = settings or CatalogueSettings()
    listing = list_source(source, settings.fetch)
    n_files = len(listing.files)
    images = []
    rejects = list(listing.rejects)
    workers = settings.workers or _workers(listing)
    with store.records(settings.fingerprint()) as records:
        reader = _Reader(records, settings)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
        try:
            outcomes = unordered_map(pool, reader.read, listing.files, 2 * workers)
            for done, (file, verdict) in enumerate(outcomes, start=1):
                if isinstance(verdict, Rejected):
                    rejects.append(Reject(file.uri, verdict.reason, verdict.detail))
                else:
                    images.append({**vars(verdict), "uri": file.uri, "label": file.label})
                progress(done, n_files)
        finally:
            # After an interrupt, files that are being downloaded are not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
    if not images:
        raise UserError(_nothing_readable(source, listing, rejects))
    table = pd.DataFrame(images, columns=list(_IMAGE_DTYPES)).astype(_IMAGE_DTYPES)
    return Catalogue(
        images=mark_duplicates(table, settings.near_distance)[_IMAGE_COLUMNS],
        rejects=_rejects_table(rejects),
        n_found=n_files + len(listing.rejects),
        n_decoded=reader.n_decoded,
    )


def shown_photos(catalogue: Catalogue, show_duplicates: bool = False) -> pd.DataFrame:
    """Return image_id, uri and label of the photos that a map shows.

    That is one of each exact duplicate, or every one of them. Near duplicates are always shown.
    """
    images = catalogue.images
    is_copy = (images["duplicate_of"] == images["image_id"]).fillna(False).astype(bool)
    shown = images if show_duplicates else images[~is_copy]
    return shown[["image_id", "uri", "label"]].reset_index(drop=True)


class Decoder:
    """Decodes into the store what is new to it; used by many threads.

    ``n_decoded`` counts the photos that were.
    """

    def __init__(self, records: Records, limits: DecodeLimits) -> None:
        self._records = records
        self._limits = limits
        self._counting = threading.Lock()
        # Copies of one photo that are read at the same time must be decoded once.
        self._image_locks = [threading.Lock() for _ in range(_IMAGE_LOCKS)]
        # However many download, no more decode than there are processors: pixels are what is large.
        self._processors = threading.BoundedSemaphore(usable_cores())
        self.n_decoded = 0

    def decode(self, data: bytes) -> KnownImage:
        """Return what is known of the photo that a file with these bytes is. Raises Rejected."""
        identity = image_id(data)
        with self._image_locks[int(identity[:4], 16) % _IMAGE_LOCKS]:
            known = self._records.image(identity)
            if known is not None:
                return known
            with self._processors:
                photo = decode(data, self._limits)
            image = self._records.keep_image(identity, len(data), photo)
        with self._counting:
            self.n_decoded += 1
        return image


class _Reader:
    """Finds out what a file is, with the least reading and decoding; used by many threads."""

    def __init__(self, records: Records, settings: CatalogueSettings):
        self._records = records
        self._fetch = settings.fetch
        self._decoder = Decoder(records, settings.decode)

    @property
    def n_decoded(self) -> int:
        """How many photos were new to the store."""
        return self._decoder.n_decoded

    def read(self, file: SourceFile) -> KnownImage | Rejected:
        """Return the photo that the file is, or the reason why it is none."""
        try:
            return self._photo(file)
        except Rejected as rejected:
            return rejected

    def _photo(self, file: SourceFile) -> KnownImage:
        known = self._records.file(file.uri)
        content = read_if_changed(file, self._fetch, known.stamp if known else None)
        if content.data is None and known is not None:
            if isinstance(known.verdict, Rejected):
                raise known.verdict
            return known.verdict
        # What could not be read is tried again the next time; what could not be decoded is not.
        try:
            photo = self._decoder.decode(content.data or b"")
        except Rejected as rejected:
            self._records.keep_file(file.uri, KnownFile(content.stamp, rejected))
            raise
        self._records.keep_file(file.uri, KnownFile(content.stamp, photo))
        return photo


def _workers(listing: Listing) -> int:
    is_remote = not all(file.uri.startswith(("/", "file://")) for file in listing.files)
    return _WORKERS_FOR_DOWNLOADS if is_remote else usable_cores()


def _rejects_table(rejects: list[Reject]) -> pd.DataFrame:
    rows = [asdict(reject) for reject in rejects]
    table = pd.DataFrame(rows, columns=list(_REJECT_DTYPES)).astype(_REJECT_DTYPES)
    return table.sort_values("uri", ignore_index=True)


def _nothing_readable(source: str, listing: Listing, rejects: list[Reject]) -> str:
    ignored = f"; {listing.ignored:,} hidden or system entries were ignored" * (listing.ignored > 0)
    if not rejects:
        return f"There are no files in {source}{ignored}."
    counts = Counter(reject.reason.value for reject in rejects)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    example = min(rejects, key=lambda reject: reject.uri)
    return (
        f"None of the {len(rejects):,} files in {source} is a readable photo ({by_reason}"
        f"{ignored}). For example {example.uri}: {example.detail}"
    )
