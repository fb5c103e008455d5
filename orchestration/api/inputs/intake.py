"""How pictures that are posted become the inputs of an app: fetched, decoded and stored."""

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from assets.config import catalogue_settings
from assets.methods.common.devices import usable_cores
from assets.methods.common.timestamps import now
from assets.methods.photos.catalogue import Decoder
from assets.methods.photos.download import too_large
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Rejected
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.input_store import (
    PENDING,
    DuplicateInput,
    InputImage,
    InputStore,
    NewInput,
    StoredInput,
    StoreFull,
)
from assets.resources.photos import inputs_folder
from orchestration.api.contract import ApiError, Code, Counts, ImageData, PostedInput, throttled
from orchestration.api.inputs.images import ImageRefused, check_sources, fetch_limits, read_image
from orchestration.api.settings import ServeSettings

# Of one app: all share the threads that download.
MOST_PENDING = 1_024
_PAUSE_SECONDS = 30
_DOWNLOADS_AT_ONCE = 16
# Posts mostly wait for downloads.
_POSTS_AT_ONCE = 64

_log = logging.getLogger(__name__)

# None: the input was deleted while it was downloaded.
_Outcome = StoredInput | DuplicateInput | StoreFull | ImageRefused | None


@dataclass(frozen=True)
class _Reader:
    """Decodes pictures as the collection that they belong to will be read."""

    decoder: Decoder
    max_bytes: int

    def read(self, data: bytes) -> InputImage:
        """Return the picture; raises ImageRefused."""
        try:
            if len(data) > self.max_bytes:
                raise too_large(len(data), self.max_bytes)
            known = self.decoder.decode(data)
        except Rejected as rejected:
            raise ImageRefused(Code.INPUT_UNSUPPORTED, rejected.detail) from rejected
        return InputImage(data, known.format, known.width, known.height)


class Intake:
    """The inputs of all apps.

    ``register`` and ``forget`` are called with an app when its first input is there, and when its
    last has gone.
    """

    def __init__(
        self,
        home: Path,
        settings: ServeSettings,
        register: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._home = home
        self._limits = fetch_limits(settings)
        self._wait_seconds = settings.wait_seconds
        self._register = register
        self._forget = forget
        self._open = ExitStack()
        self._opening = threading.RLock()
        self._stores: dict[str, InputStore] = {}
        self._readers: dict[str, _Reader] = {}
        self._registering = threading.Lock()
        self._counting = threading.Lock()
        self._n_downloading: Counter[str] = Counter()
        self._posts = ThreadPoolExecutor(_POSTS_AT_ONCE, "posts")
        self._decoding = ThreadPoolExecutor(usable_cores(), "inputs")
        self._downloads = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, "downloads")

    def start(self) -> None:
        """Take up what an earlier process left: downloads, files, and collections."""
        for path in sorted((self._home / "inputs").glob("*/inputs.sqlite")):
            app = path.parent.name
            store = self.store(app)
            store.sweep()
            if store.has_done():
                # A kill may have come between the registry and Dagster's partitions.
                self._register(app)
            else:
                self._settle_registration(app)
            reader = self._reader(app)
            for waiting in store.pending():
                self._download_later(app, reader, waiting)

    def close(self) -> None:
        """End: downloads that run are waited for, others stay pending until the next start."""
        self._downloads.shutdown(cancel_futures=True)
        self._posts.shutdown(cancel_futures=True)
        self._decoding.shutdown(cancel_futures=True)
        self._open.close()

    def store(self, app: str) -> InputStore:
        """Return the inputs of an app."""
        with self._opening:
            if app not in self._stores:
                store = InputStore(inputs_folder(self._home, app))
                self._open.callback(store.close)
                self._stores[app] = store
            return self._stores[app]

    def submit(
        self, app: str, inputs: Sequence[PostedInput], max_inputs: int
    ) -> "Future[list[StoredInput]]":
        """Do ``post`` in a thread of its own."""
        return self._posts.submit(self.post, app, inputs, max_inputs)

    def post(self, app: str, inputs: Sequence[PostedInput], max_inputs: int) -> list[StoredInput]:
        """Store what was posted, at most ``max_inputs`` in all, and return it in its order.

        The ``code`` of each says what became of it. What failed, or is there already, was not
        stored: of a duplicate, the one that is there is returned with the code of duplicates.
        Downloads that take longer than a post waits end in the background.

        Raises ApiError: an input without a picture, or with two; the app is a collection with a
        source of its own.
        """
        check_sources([posted.data.image for posted in inputs])
        self._check_source(app)
        counts = self.store(app).counts()
        if counts.done + counts.pending + counts.failed >= max_inputs:
            # Before anything is decoded, and its working copy kept.
            return [_told(posted, StoreFull(max_inputs)) for posted in inputs]
        _check_downloads(inputs, counts.pending)
        reader = self._reader(app)
        read = list(self._decoding.map(lambda posted: self._read(reader, posted), inputs))
        new = [one for one in read if isinstance(one, NewInput)]
        stored = iter(self.store(app).add(new, max_inputs))
        outcomes = [next(stored) if isinstance(one, NewInput) else one for one in read]
        downloads = self._downloaded(app, reader, outcomes)
        self._settle_registration(app)
        return [
            _told(posted, downloads.get(index, outcome))
            for index, (posted, outcome) in enumerate(zip(inputs, outcomes, strict=True))
        ]

    def delete(self, app: str, ids: Sequence[str]) -> set[str]:
        """Delete inputs; return the ids of those there were."""
        deleted = self.store(app).delete(ids)
        self._settle_registration(app)
        return deleted

    def delete_all(self, app: str) -> None:
        """Delete every input of an app."""
        self.store(app).delete_all()
        self._settle_registration(app)

    def counts(self, app: str) -> Counts:
        """Return how many inputs are done, wait, have failed and are being downloaded."""
        counts = self.store(app).counts()
        with self._counting:
            processing = min(self._n_downloading[app], counts.pending)
        return Counts(
            processed=counts.done,
            to_process=counts.pending - processing,
            errors=counts.failed,
            processing=processing,
        )

    def _reader(self, app: str) -> _Reader:
        """What reads as the assets will, so that these find every picture in the store of photos.

        Collections with the same settings share it.
        """
        collection = self._collection(app)
        settings = catalogue_settings(collection.settings if collection is not None else {})
        fingerprint = settings.fingerprint()
        with self._opening:
            if fingerprint not in self._readers:
                store = PhotoStore(self._home / "photos")
                records = self._open.enter_context(store.records(fingerprint))
                decoder = Decoder(records, settings.decode)
                self._readers[fingerprint] = _Reader(decoder, settings.fetch.max_bytes)
            return self._readers[fingerprint]

    def _read(self, reader: _Reader, posted: PostedInput) -> NewInput | ImageRefused:
        image = posted.data.image
        try:
            sent = None if image.url else reader.read(read_image(image, self._limits))
        except ImageRefused as refused:
            return refused
        return NewInput(
            id=posted.id,
            picture=sent,
            url=image.url,
            allow_duplicate=image.allow_duplicate_url,
            crop=image.crop,
            concepts=_concepts(posted),
            metadata=posted.data.metadata,
        )

    def _downloaded(
        self,
        app: str,
        reader: _Reader,
        outcomes: Sequence[_Outcome],
    ) -> dict[int, _Outcome]:
        """What became in time of the pending ones among ``outcomes``, by their index.

        Those that failed are withdrawn. The others are settled whenever they end.
        """
        store = self.store(app)
        waiting = {
            index: outcome
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, StoredInput) and outcome.code == PENDING
        }
        downloads = {
            index: self._downloads.submit(self._download, app, reader, pending)
            for index, pending in waiting.items()
        }
        wait(downloads.values(), self._wait_seconds)
        ended = {
            index: download.result()
            for index, download in downloads.items()
            if download.done() and not download.cancelled()
        }
        store.withdraw(
            waiting[index].number
            for index, outcome in ended.items()
            if isinstance(outcome, (DuplicateInput, ImageRefused))
        )
        for index in waiting.keys() - ended.keys():
            self._settle_when_it_ends(app, waiting[index], downloads[index])
        return ended

    def _download_later(self, app: str, reader: _Reader, pending: StoredInput) -> None:
        download = self._downloads.submit(self._download, app, reader, pending)
        self._settle_when_it_ends(app, pending, download)

    def _download(self, app: str, reader: _Reader, pending: StoredInput) -> _Outcome:
        image = ImageData(url=pending.url, crop=pending.crop)
        with self._counting:
            self._n_downloading[app] += 1
        try:
            picture = reader.read(read_image(image, self._limits))
            return self.store(app).mark_done(pending.number, picture)
        except ImageRefused as refused:
            return refused
        except Exception:
            # One input must not take the others of its post with it.
            _log.exception("The download of input %s of %s broke off.", pending.id, app)
            return ImageRefused(Code.FAILURE, "The service failed at this input; try it again.")
        finally:
            with self._counting:
                self._n_downloading[app] -= 1

    def _settle_when_it_ends(
        self, app: str, pending: StoredInput, download: "Future[_Outcome]"
    ) -> None:
        def settle(ended: "Future[_Outcome]") -> None:
            if ended.cancelled():
                return
            outcome = ended.result()
            if isinstance(outcome, DuplicateInput):
                code = Code.INPUT_DUPLICATE
                self.store(app).mark_failed(pending.number, code.number, outcome.detail)
            elif isinstance(outcome, ImageRefused):
                number = outcome.code.number
                self.store(app).mark_failed(pending.number, number, outcome.detail)
            self._settle_registration(app)

        download.add_done_callback(settle)

    def _settle_registration(self, app: str) -> None:
        """Register an app that has pictures, and forget one that has none any more."""
        with self._registering:
            is_wanted = self.store(app).has_done()
            if is_wanted != self._is_registered(app):
                (self._register if is_wanted else self._forget)(app)

    def _check_source(self, app: str) -> None:
        collection = self._collection(app)
        if collection is not None and collection.source != INPUTS_SOURCE:
            raise ApiError(
                Code.INVALID_REQUEST,
                f"The collection {app} has a source of its own, so nothing can be posted to it.",
            )

    def _is_registered(self, app: str) -> bool:
        collection = self._collection(app)
        return collection is not None and collection.source == INPUTS_SOURCE

    def _collection(self, app: str) -> Collection | None:
        return CollectionRegistry(self._home).find(app)


def _check_downloads(inputs: Sequence[PostedInput], n_pending: int) -> None:
    n_new = sum(posted.data.image.url is not None for posted in inputs)
    if n_new and n_pending + n_new > MOST_PENDING:
        raise throttled(
            f"{n_pending:,} downloads of the app are pending: post more when some have ended.",
            _PAUSE_SECONDS,
        )


def _told(posted: PostedInput, outcome: _Outcome) -> StoredInput:
    """What the one who posted is told of an input."""
    match outcome:
        case StoredInput():
            return outcome
        case DuplicateInput(existing, detail):
            return replace(existing, code=Code.INPUT_DUPLICATE.number, detail=detail)
        case StoreFull(limit):
            detail = f"There are {limit:,} inputs, which is as many as this key may store."
            return _failed(posted, Code.INVALID_REQUEST, detail)
        case ImageRefused():
            return _failed(posted, outcome.code, outcome.detail)
    return _failed(posted, Code.NO_SUCH_INPUT, "The input was deleted while it was downloaded.")


def _failed(posted: PostedInput, code: Code, detail: str) -> StoredInput:
    """An input that was not stored, with the number 0."""
    moment = now()
    return StoredInput(
        number=0,
        id=posted.id or uuid.uuid4().hex,
        image_id=None,
        url=posted.data.image.url,
        allow_duplicate=posted.data.image.allow_duplicate_url,
        crop=posted.data.image.crop,
        concepts=_concepts(posted),
        metadata=posted.data.metadata,
        created_at=moment,
        modified_at=moment,
        code=code.number,
        detail=detail,
    )


def _concepts(posted: PostedInput) -> tuple[tuple[str, float], ...]:
    return tuple((concept.id, concept.value) for concept in posted.data.concepts)
