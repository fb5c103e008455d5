"""Search by visual similarity: an index for each app, which a search updates first."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from assets.methods.common.devices import Precision, usable_cores
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.embedding import vector_key
from assets.methods.models.similarity import SimilarityIndex
from assets.methods.models.vector_store import SHARD_SIZE
from assets.resources.input_store import DONE, InputStore, StoredInput
from assets.resources.photos import Photos
from orchestration.api.contract import ApiError, Code, Crop, no_such_input
from orchestration.api.inference.search_query import InputFilter
from orchestration.api.inference.served_models import EMBEDDING, ServedModel, ServedModels
from orchestration.api.inputs.images import cropped, working_copy
from orchestration.api.inputs.intake import Intake

# For different apps; each app has one update at a time.
UPDATES_AT_ONCE = 2
WAIT_SECONDS = 30.0

_INDEXED_AT_ONCE = 4096


@dataclass(frozen=True)
class SearchResult:
    """The inputs that were found with their cosines, the most similar first.

    Without an image to compare with, each has the cosine 1. ``n_missing`` inputs were not compared,
    because they are not embedded yet.
    """

    hits: list[tuple[StoredInput, float]]
    n_missing: int


@dataclass
class _AppIndex:
    """The vectors of an app's inputs at a revision of the input store.

    ``image_of`` maps the id of an indexed input to its image_id.
    """

    vectors: SimilarityIndex
    image_of: dict[str, str] = field(default_factory=dict)
    revision: int = -1
    n_missing: int = 0
    update: Future[None] | None = None


class SearchEngine:
    """Finds the inputs of an app that look most like an image, or that match a filter.

    The vectors are those of the asset `embeddings`. Missing ones are computed by the same model and
    kept in the same store.

    Args:
        home: the folder with that store.
        intake: the inputs.
        models: the models, one of which embeds.
        precision: the precision that the models compute with.
        wait_seconds: how long a search waits for new inputs to be embedded, and how long it may
            look for inputs that match a filter.
    """

    def __init__(
        self,
        home: Path,
        intake: Intake,
        models: ServedModels,
        precision: Precision = "float32",
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._intake = intake
        self._models = models
        self._precision = precision
        self._wait_seconds = wait_seconds
        self._photos = Photos(home=str(home))
        self._indexes: dict[str, _AppIndex] = {}
        self._updating = ThreadPoolExecutor(UPDATES_AT_ONCE, "search-updates")
        self._searching = ThreadPoolExecutor(usable_cores(), "searches")

    def close(self) -> None:
        """Take no more searches; running ones end by themselves, or when the models are closed."""
        self._updating.shutdown(wait=False, cancel_futures=True)
        self._searching.shutdown(wait=False, cancel_futures=True)

    async def search(
        self,
        app: str,
        vector: np.ndarray | None,
        page: int,
        per_page: int,
        wanted: InputFilter | None = None,
    ) -> SearchResult:
        """Find the app's inputs that match a filter, by default all.

        With a vector, (d,) float32 of unit length, the most similar come first, and without one the
        oldest. New inputs are embedded before they are compared. If that takes too long, the search
        covers the inputs that are embedded so far, and the others are embedded in the background.

        Raises ApiError when too many images wait for the model, or matching takes too long.
        """
        loop = asyncio.get_running_loop()
        pages = slice((page - 1) * per_page, page * per_page)
        wanted = wanted or InputFilter()
        if vector is None:
            found = await loop.run_in_executor(self._searching, self._page, app, wanted, pages)
            return SearchResult([(stored, 1.0) for stored in found], 0)
        model = await self._models.find(EMBEDDING)
        index = self._indexes.setdefault(app, _AppIndex(SimilarityIndex(len(vector))))
        await self._refresh(app, index, model)
        hits = await loop.run_in_executor(
            self._searching, self._hits, app, index, vector, pages, wanted
        )
        return SearchResult(hits, index.n_missing)

    async def vector_of(self, app: str, input_id: str, crop: Crop | None) -> np.ndarray:
        """Return the vector of an app's input, or of a part of it: (d,) float32.

        Raises ApiError: there is no such input, it has no image yet, or too many images wait for
        the model.
        """
        inputs = self._intake.store(app)
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(self._searching, inputs.find, input_id)
        if stored is None:
            raise no_such_input(input_id)
        if stored.image_id is None:
            raise ApiError(Code.INVALID_SEARCH, f"The input {input_id} has no image that was read.")
        load = partial(self._working_copy, inputs, stored.image_id)
        if crop is not None:
            load = partial(_cropped_copy, inputs.path(stored.image_id), crop)
        model = await self._models.find(EMBEDDING)
        try:
            return await asyncio.wrap_future(self._models.submit(model, load))
        except FileNotFoundError as error:
            # It was deleted a moment ago.
            raise no_such_input(input_id) from error

    @cached_property
    def _key(self) -> str:
        return vector_key(DEFAULT_BACKBONE, self._precision)

    async def _refresh(self, app: str, index: _AppIndex, model: ServedModel) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        wanted = await loop.run_in_executor(self._searching, self._revision, app)
        while index.revision < wanted:
            # An update that is running may have begun before the newest inputs were posted.
            if index.update is None or index.update.done():
                index.update = self._updating.submit(self._update, app, index, model)
            ended = asyncio.wrap_future(index.update)
            await asyncio.wait([ended], timeout=deadline - loop.time())
            if not ended.done():
                return
            ended.result()

    def _revision(self, app: str) -> int:
        return self._intake.store(app).revision()

    def _hits(
        self, app: str, index: _AppIndex, vector: np.ndarray, pages: slice, wanted: InputFilter
    ) -> list[tuple[StoredInput, float]]:
        among = None
        if not wanted.is_empty:
            among = [stored.id for stored in self._matching(app, wanted)]
        ids, cosines = index.vectors.search(vector, pages.stop, among)
        inputs = self._intake.store(app).find_all(ids[pages])
        return [
            (inputs[one], float(cosine))
            for one, cosine in zip(ids[pages], cosines[pages], strict=True)
            # It may have been deleted since the index was updated.
            if one in inputs
        ]

    def _page(self, app: str, wanted: InputFilter, pages: slice) -> list[StoredInput]:
        return list(islice(self._matching(app, wanted), pages.start, pages.stop))

    def _matching(self, app: str, wanted: InputFilter) -> Iterator[StoredInput]:
        """Yield the inputs that are done and match, the oldest first."""
        inputs, deadline = self._intake.store(app), time.monotonic() + self._wait_seconds
        for stored in _candidates(inputs, wanted):
            if time.monotonic() > deadline:
                raise ApiError(
                    Code.INVALID_SEARCH,
                    f"The search took longer than {self._wait_seconds:g} seconds. Search for less.",
                )
            if wanted.matches(stored):
                yield stored

    def _update(self, app: str, index: _AppIndex, model: ServedModel) -> None:
        inputs = self._intake.store(app)
        # Read first, so that the next update covers what changes meanwhile.
        revision = inputs.revision()
        wanted = {photo.id: photo.image_id for photo in inputs.done()}
        gone = [one for one, image_id in index.image_of.items() if wanted.get(one) != image_id]
        index.vectors.remove(gone)
        for one in gone:
            del index.image_of[one]
        ids_of = defaultdict(list)
        new = wanted.keys() - index.image_of.keys()
        shown_ids = self._photos.store.shown_ids({wanted[one] for one in new})
        for one in new:
            ids_of[shown_ids[wanted[one]]].append(one)
        index.n_missing = sum(map(len, ids_of.values()))
        known = self._photos.vectors.find(self._key, ids_of)
        _add(index, wanted, ids_of, known)
        unseen = sorted(ids_of.keys() - known.keys())
        for begin in range(0, len(unseen), SHARD_SIZE):
            shard = unseen[begin : begin + SHARD_SIZE]
            vectors = self._embed(inputs, model, shard)
            self._photos.vectors.append(self._key, shard, vectors)
            _add(index, wanted, ids_of, dict(zip(shard, vectors, strict=True)))
        index.revision = revision

    def _embed(
        self, inputs: InputStore, model: ServedModel, shown_ids: Sequence[str]
    ) -> np.ndarray:
        loads = [partial(self._working_copy, inputs, shown_id) for shown_id in shown_ids]
        rows = [self._models.submit(model, load) for load in loads]
        return np.stack([row.result() for row in rows])

    def _working_copy(self, inputs: InputStore, shown_id: str) -> Image.Image:
        try:
            return self._photos.store.open_working_copy(shown_id)
        except FileNotFoundError:
            # Working copies are a cache, which may have been cleared.
            return working_copy(inputs.path(shown_id.partition("-")[0]).read_bytes())


def _candidates(inputs: InputStore, wanted: InputFilter) -> Iterator[StoredInput]:
    """Return an iterator over inputs that are done, among them all that match."""
    if wanted.ids:
        named = inputs.find_all(list(wanted.ids)).values()
        return (stored for stored in named if stored.code == DONE)
    concepts = [name for name, has in wanted.concepts if has]
    return inputs.candidates(next(iter(wanted.urls), None), concepts, wanted.metadata)


def _cropped_copy(file: Path, crop: Crop) -> Image.Image:
    return working_copy(cropped(file.read_bytes(), crop))


def _add(
    index: _AppIndex,
    image_of: Mapping[str, str],
    ids_of: Mapping[str, Sequence[str]],
    vectors: Mapping[str, np.ndarray],
) -> None:
    """Index the inputs with these vectors, in parts: there are many when a service starts."""
    shown_of = {one: shown_id for shown_id in vectors for one in ids_of[shown_id]}
    ids = list(shown_of)
    for begin in range(0, len(ids), _INDEXED_AT_ONCE):
        part = ids[begin : begin + _INDEXED_AT_ONCE]
        index.vectors.add(part, np.stack([vectors[shown_of[one]] for one in part]))
    index.image_of.update({one: image_of[one] for one in ids})
    index.n_missing -= len(ids)
