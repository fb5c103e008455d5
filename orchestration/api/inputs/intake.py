"""How images that are posted become the inputs of an app: downloaded, decoded and stored."""

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from assets.config import catalogue_settings
from assets.methods.common.devices import usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import now
from assets.methods.photos.catalogue import Decoder
from assets.methods.photos.download import too_large
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Rejected
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.input_store import (
    DuplicateInput,
    InputImage,
    InputStore,
    NewInput,
    StoredInput,
    StoreFull,
)
from assets.resources.photos import inputs_databases, inputs_folder
from orchestration.api.contract import ApiError, Code, Counts, ImageData, PostedInput, throttled
from orchestration.api.inputs.images import ImageError, check_sources, fetch_limits, read_image
from orchestration.api.settings import ServeSettings

# Per app. All apps share the threads that download.
MOST_PENDING = 1_024
_RETRY_AFTER_SECONDS = 30
_DOWNLOAD_THREADS = 16
# These mostly wait for downloads.
_POST_THREADS = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """What became of a posted input.

    ``stored`` is the input as the store has it, and the existing one if the posted input is a
    duplicate. It is None for an input that was not stored; ``detail`` says why.
    """

    code: Code
    detail: str | None = None
    stored: StoredInput | None = None

    @property
    def has_failed(self) -> bool:
        """Whether an input that was stored as pending must not stay so."""
        return self.code not in (Code.INPUT_DONE, Code.INPUT_PENDING, Code.NO_SUCH_INPUT)


_Decode = Callable[[bytes], InputImage]


class Intake:
    """The inputs of all apps.

    ``register`` is called with an app when its first input is done, and ``forget`` when it has none
    left.
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
        self._decoders: dict[tuple[str, int | None], _Decode] = {}
        self._registering = threading.Lock()
        self._counting = threading.Lock()
        self._n_downloading: Counter[str] = Counter()
        self._posts = ThreadPoolExecutor(_POST_THREADS, "posts")
        self._decoding = ThreadPoolExecutor(usable_cores(), "inputs")
        self._downloads = ThreadPoolExecutor(_DOWNLOAD_THREADS, "downloads")

    def start(self) -> None:
        """Continue with what an earlier process left: downloads, files, and collections.

        An app whose database is damaged is left out with an error in the log.
        """
        for path in inputs_databases(self._home):
            app = path.parent.name
            try:
                store = self.store(app)
                store.sweep()
            except UserError as error:
                _log.error("The app %s is left out: %s", app, error)
                continue
            if store.has_done():
                # A process may have been killed between the registry and Dagster's partitions.
                self._register(app)
            else:
                self._sync_registration(app)
            decode = self._decoder(app)
            for pending in store.pending():
                download = self._downloads.submit(self._download, app, decode, pending)
                self._finish_later(app, pending, download)

    def close(self) -> None:
        """Wait for the downloads that are running; the others stay pending until the next start."""
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
        """Call ``post`` in another thread."""
        return self._posts.submit(self.post, app, inputs, max_inputs)

    def post(self, app: str, inputs: Sequence[PostedInput], max_inputs: int) -> list[StoredInput]:
        """Store inputs, ``max_inputs`` in all; return them in their order, each with its code.

        An input that failed was not stored. For a duplicate the existing input is returned, with
        the code of duplicates. Downloads that take longer than a post waits end in the background.

        Raises ApiError: an image has no source or two, too many downloads are pending, or the app
        is a collection with a source of its own.
        """
        check_sources([posted.data.image for posted in inputs])
        self._check_source(app)
        counts = self.store(app).counts()
        if counts.done + counts.pending + counts.failed >= max_inputs:
            # Refused here, because decoding would keep a working copy of each.
            return [_reply(posted, _outcome(StoreFull(max_inputs))) for posted in inputs]
        _check_n_downloads(inputs, counts.pending)
        decode = self._decoder(app)
        added = self._add(app, decode, inputs, max_inputs)
        outcomes = self._await_downloads(app, decode, added)
        self._sync_registration(app)
        return list(map(_reply, inputs, outcomes))

    def delete(self, app: str, ids: Sequence[str]) -> set[str]:
        """Delete inputs; return the ids of those that existed."""
        deleted = self.store(app).delete(ids)
        self._sync_registration(app)
        return deleted

    def delete_all(self, app: str) -> None:
        """Delete every input of an app."""
        self.store(app).delete_all()
        self._sync_registration(app)

    def counts(self, app: str) -> Counts:
        """Return how many inputs are done, are waiting, have failed and are being downloaded."""
        counts = self.store(app).counts()
        with self._counting:
            processing = min(self._n_downloading[app], counts.pending)
        return Counts(
            processed=counts.done,
            to_process=counts.pending - processing,
            errors=counts.failed,
            processing=processing,
        )

    def _decoder(self, app: str) -> _Decode:
        """Return what decodes as the assets will, so that they find each image decoded already.

        Collections with the same settings share it.
        """
        collection = self._collection(app)
        settings = catalogue_settings(collection.settings if collection is not None else {})
        key = settings.fingerprint(), settings.frames
        with self._opening:
            if key not in self._decoders:
                store = PhotoStore(self._home / "photos")
                records = self._open.enter_context(store.records(settings.fingerprint()))
                decoder = Decoder(records, settings.decode, settings.frames)
                self._decoders[key] = partial(_decode, decoder, settings.fetch.max_bytes)
            return self._decoders[key]

    def _add(
        self, app: str, decode: _Decode, inputs: Sequence[PostedInput], max_inputs: int
    ) -> list[_Outcome]:
        """Decode the images that were sent, and store the inputs."""
        read = list(self._decoding.map(partial(self._read, decode), inputs))
        new = [one for one in read if isinstance(one, NewInput)]
        added = iter(self.store(app).add(new, max_inputs))
        return [_outcome(next(added) if isinstance(one, NewInput) else one) for one in read]

    def _read(self, decode: _Decode, posted: PostedInput) -> NewInput | ImageError:
        image = posted.data.image
        try:
            decoded = None if image.url else decode(read_image(image, self._limits))
        except ImageError as error:
            return error
        return NewInput(
            id=posted.id,
            picture=decoded,
            url=image.url,
            allow_duplicate=image.allow_duplicate_url,
            crop=image.crop,
            concepts=_concepts(posted),
            metadata=posted.data.metadata,
        )

    def _await_downloads(
        self, app: str, decode: _Decode, outcomes: Sequence[_Outcome]
    ) -> list[_Outcome]:
        """Download what is pending, and return the outcomes as they are when the wait is over.

        Inputs whose download failed in time are withdrawn.
        """
        pending = {
            index: outcome.stored
            for index, outcome in enumerate(outcomes)
            if outcome.code is Code.INPUT_PENDING and outcome.stored is not None
        }
        downloads = {
            index: self._downloads.submit(self._download, app, decode, stored)
            for index, stored in pending.items()
        }
        wait(downloads.values(), self._wait_seconds)
        ended = list(outcomes)
        for index, download in downloads.items():
            if download.done() and not download.cancelled():
                ended[index] = download.result()
            else:
                self._finish_later(app, pending[index], download)
        self.store(app).withdraw(
            stored.number for index, stored in pending.items() if ended[index].has_failed
        )
        return ended

    def _download(self, app: str, decode: _Decode, pending: StoredInput) -> _Outcome:
        image = ImageData(url=pending.url, crop=pending.crop)
        with self._counting:
            self._n_downloading[app] += 1
        try:
            downloaded = decode(read_image(image, self._limits))
            return _outcome(self.store(app).mark_done(pending.number, downloaded))
        except ImageError as error:
            return _outcome(error)
        except Exception:
            # The other inputs of the post go on.
            _log.exception("The download of input %s of %s failed.", pending.id, app)
            return _Outcome(Code.FAILURE, "The service failed at this input. Post it again.")
        finally:
            with self._counting:
                self._n_downloading[app] -= 1

    def _finish_later(self, app: str, pending: StoredInput, download: "Future[_Outcome]") -> None:
        """Write down the outcome of a download whenever it ends."""

        def finish(ended: "Future[_Outcome]") -> None:
            if ended.cancelled():
                return
            outcome = ended.result()
            if outcome.has_failed:
                number = outcome.code.number
                self.store(app).mark_failed(pending.number, number, outcome.detail or "")
            self._sync_registration(app)

        download.add_done_callback(finish)

    def _sync_registration(self, app: str) -> None:
        """Register an app that has inputs, and forget one that has none any more."""
        with self._registering:
            collection = self._collection(app)
            is_registered = collection is not None and collection.source == INPUTS_SOURCE
            is_wanted = self.store(app).has_done()
            if is_wanted != is_registered:
                (self._register if is_wanted else self._forget)(app)

    def _check_source(self, app: str) -> None:
        collection = self._collection(app)
        if collection is not None and collection.source != INPUTS_SOURCE:
            raise ApiError(
                Code.INVALID_REQUEST,
                f"The collection {app} has a source of its own, so nothing can be posted to it.",
            )

    def _collection(self, app: str) -> Collection | None:
        return CollectionRegistry(self._home).find(app)


def _decode(decoder: Decoder, max_bytes: int, data: bytes) -> InputImage:
    try:
        if len(data) > max_bytes:
            raise too_large(len(data), max_bytes)
        known = decoder.decode(data)
    except Rejected as rejected:
        raise ImageError(Code.INPUT_UNSUPPORTED, rejected.detail) from rejected
    return InputImage(data, known.format, known.width, known.height)


def _check_n_downloads(inputs: Sequence[PostedInput], n_pending: int) -> None:
    n_new = sum(posted.data.image.url is not None for posted in inputs)
    if n_new and n_pending + n_new > MOST_PENDING:
        raise throttled(
            f"The app has {n_pending:,} pending downloads, and {MOST_PENDING:,} are allowed. Post "
            "more when some of them have ended.",
            _RETRY_AFTER_SECONDS,
        )


def _outcome(result: StoredInput | DuplicateInput | StoreFull | ImageError | None) -> _Outcome:
    """Return the outcome for what the store, or reading the image, has given."""
    match result:
        case StoredInput():
            return _Outcome(Code.of(result.code), result.detail, result)
        case DuplicateInput():
            return _Outcome(Code.INPUT_DUPLICATE, result.detail, result.existing)
        case StoreFull(limit):
            detail = f"The app has {limit:,} inputs, which is as many as this key may store."
            return _Outcome(Code.INVALID_REQUEST, detail)
        case ImageError():
            return _Outcome(result.code, result.detail)
    return _Outcome(Code.NO_SUCH_INPUT, "The input was deleted while it was downloaded.")


def _reply(posted: PostedInput, outcome: _Outcome) -> StoredInput:
    """Return the input for the reply; one that was not stored has the number 0."""
    code, detail = outcome.code.number, outcome.detail
    if outcome.stored is not None:
        return replace(outcome.stored, code=code, detail=detail)
    moment, image = now(), posted.data.image
    return StoredInput(
        number=0,
        id=posted.id or uuid.uuid4().hex,
        image_id=None,
        url=image.url,
        allow_duplicate=image.allow_duplicate_url,
        crop=image.crop,
        concepts=_concepts(posted),
        metadata=posted.data.metadata,
        created_at=moment,
        modified_at=moment,
        code=code,
        detail=detail,
    )


def _concepts(posted: PostedInput) -> tuple[tuple[str, float], ...]:
    return tuple((concept.id, concept.value) for concept in posted.data.concepts)
