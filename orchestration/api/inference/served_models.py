"""The models that the service runs: loaded at the start, and replaced by a new champion."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputeSettings, Precision, plan_compute, usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import now_to_the_second, timestamp
from assets.methods.models import efficientnet_lite0
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.embedding import Embedder
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.provenance import Provenance, tessera_version
from assets.methods.models.scoring import classify_photos
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE, fingerprint_at
from assets.methods.photos.animation import DEFAULT_FRAMES, Frame
from assets.methods.photos.decode import WORKING_SHORT_SIDE
from assets.methods.photos.download import FetchLimits
from assets.resources.models import Models
from assets.resources.registry import MODEL, RegisteredModel
from assets.resources.tracking import Warn
from orchestration.api.contract import ApiError, Code, ImageData, PredictedImage
from orchestration.api.inference.batching import Batcher, BatchModel
from orchestration.api.inputs.images import judged_image, read_file, scored_frames

NSFW = "nsfw"
EMBEDDING = "general-embedding"
# The ids that clients of the original API use.
ALIASES = {
    "nsfw-v1.0": NSFW,
    "e9576d86d2004ed1a38ba0cf39ecb4b1": NSFW,
    "general": EMBEDDING,
    "bbb5f41425b8468d9b7a554ff10f8581": EMBEDDING,
}
_DOWNLOAD_THREADS = 16
POLL_SECONDS = 15.0
# The id of the champion's version while the registry is down, which knows its number.
UNNUMBERED = "champion"

# Kept in memory, beside the champion and the default embedding.
_OTHER_VERSIONS = 2
_OTHER_EMBEDDINGS = 1


@dataclass(frozen=True)
class ServedModel:
    """A model that is loaded; ``class_names`` is empty for an embedding.

    ``fingerprint`` is the registered file's.
    """

    id: str
    name: str
    type: Literal["concept", "embed"]
    version: str
    created_at: str
    class_names: tuple[str, ...]
    fingerprint: str
    precision: Precision
    network: BatchModel
    reads: Preprocessing

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers: in another precision it has another fingerprint."""
        return ModelIdentity(
            self.id, self.version, fingerprint_at(self.fingerprint, self.precision)
        )

    def provenance(self) -> Provenance:
        """Return the origin of the outputs that are asked for now."""
        return Provenance(
            self.identity,
            None,
            None,
            self.reads.in_words(),
            now_to_the_second(),
            tessera_version(),
        )


@dataclass(frozen=True)
class Prediction:
    """The probabilities of the classes, or the vector: (d,) float32.

    Of an animation, ``frame`` is the one with the highest score, and they are its. ``note`` says if
    not all of the animation could be read.
    """

    output: np.ndarray
    frame: Frame | None = None
    note: str | None = None


class ServedModels:
    """The NSFW model, its champion and its other versions, and the embedding of `embeddings`.

    They are called with working copies, as in the assets, so that their outputs are the same bits.

    Args:
        models: where the champion comes from.
        compute: the device, and how much to compute at a time.
        limits: the limits of one image.
        warn: called with a sentence for the operator.
        on_batch: called with the model's id and the number of images of each batch.
        poll_seconds: the time between two questions for the champion.
        frames: how many frames of an animation are scored.
    """

    def __init__(
        self,
        models: Models,
        compute: ComputeSettings,
        limits: FetchLimits,
        warn: Warn,
        on_batch: Callable[[str, int], object],
        poll_seconds: float = POLL_SECONDS,
        frames: int = DEFAULT_FRAMES,
    ) -> None:
        self._models = models
        self._compute = compute
        self._limits = limits
        self._frames = frames
        self._warn = warn
        self._poll_seconds = poll_seconds
        self._batcher = Batcher(compute.threads or usable_cores(), on_batch)
        self._served: dict[str, ServedModel] = {}
        # Keeps the versions beside the champion that were requested last.
        self._version = lru_cache(_OTHER_VERSIONS)(self._load_version)
        self._other_embedding = lru_cache(_OTHER_EMBEDDINGS)(self._embedding_of)
        self._last_warning: dict[str, str] = {}
        self._first_try: Future[None] = Future()
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="models", daemon=True)
        # One thread, so that a second request for the same version finds it loaded.
        self._loading = ThreadPoolExecutor(1, "model-versions")
        self._downloading = ThreadPoolExecutor(_DOWNLOAD_THREADS, "model-downloads")

    @property
    def ready(self) -> bool:
        """Whether every model has been loaded."""
        return len(self._served) == 2

    def start(self) -> None:
        """Begin to load the models; requests wait until then."""
        self._poller.start()

    def close(self) -> None:
        """Stop; images that wait for a model are cancelled."""
        self._closing.set()
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._downloading.shutdown(wait=False, cancel_futures=True)
        self._batcher.close()

    async def all(self) -> list[ServedModel]:
        """Return the models, in their current versions."""
        return [await self.find(NSFW), await self.find(EMBEDDING)]

    async def find(self, model_id: str, version: str | None = None) -> ServedModel:
        """Return a model by its id, name or alias, in this version or else the current one.

        Raises ApiError: there is none, or it could not be loaded.
        """
        if not self._first_try.done():
            await asyncio.shield(asyncio.wrap_future(self._first_try))
        model_id = ALIASES.get(model_id, model_id)
        if model_id not in (NSFW, EMBEDDING):
            raise ApiError(Code.NO_SUCH_MODEL, "There is no model with this id, name or alias.")
        current = self._served.get(model_id)
        if current is not None and version in (None, current.version):
            return current
        if version is None:
            raise ApiError(
                Code.FAILURE, f"The model {model_id} could not be loaded.", http_status=503
            )
        if model_id == NSFW and _is_number(version):
            return await asyncio.wrap_future(self._loading.submit(self._version, version))
        raise _no_version(version)

    async def embedding(self, backbone: str) -> ServedModel:
        """Return the embedding of a backbone, which a map may have been made from.

        Raises ApiError: there is no such network, or it could not be loaded.
        """
        if backbone == DEFAULT_BACKBONE:
            return await self.find(EMBEDDING)
        try:
            loading = self._loading.submit(self._other_embedding, backbone)
            return await asyncio.wrap_future(loading)
        except UserError as error:
            raise ApiError(Code.FAILURE, str(error), http_status=503) from error

    async def predict(self, model: ServedModel, image: ImageData) -> Prediction:
        """Return what a model says of an image; an embedding is of the frame that a map shows.

        Raises ImageError; ApiError when too many images wait; UserError when the model fails.
        """
        read = partial(read_file, image, self._limits)
        if image.url is not None:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._downloading, read)
            read = partial(_given, data)
        frames, note = list[Frame](), None

        def load() -> list[Image.Image]:
            nonlocal frames, note
            if isinstance(image, PredictedImage) and image.working_copy:
                return [judged_image(read(), image.crop)]
            wanted = self._frames if model.class_names else 1
            images, frames, note = scored_frames(read(), image.crop, wanted)
            return images

        rows = await asyncio.wrap_future(self._batcher.submit_frames(model.network, load))
        if not model.class_names or not frames:
            return Prediction(rows[0])
        highest = int(rows[:, model.class_names.index(scored_class(model.class_names))].argmax())
        return Prediction(rows[highest], frames[highest], note)

    def submit(self, model: ServedModel, load: Callable[[], Image.Image]) -> Future[np.ndarray]:
        """Call the model with the working copy that ``load`` returns, in another thread.

        Raises ApiError when too many images wait.
        """
        return self._batcher.submit(model.network, load)

    def _poll(self) -> None:
        self._batcher.start()
        while not self._closing.is_set():
            if EMBEDDING not in self._served:
                self._try("embedding", self._load_embedding)
            self._try("champion", self._load_champion)
            if not self._first_try.done():
                self._first_try.set_result(None)
            self._closing.wait(self._poll_seconds)

    def _try(self, what: str, load: Callable[[], None]) -> None:
        try:
            load()
        except Exception as error:
            # The service keeps the model that it has, and tries again.
            if not self._closing.is_set():
                self._warn_once(what, f"The {what} could not be loaded ({error}).")

    def _warn_once(self, what: str, sentence: str) -> None:
        if sentence and self._last_warning.get(what) != sentence:
            self._warn(sentence)
        self._last_warning[what] = sentence

    def _load_embedding(self) -> None:
        self._served[EMBEDDING] = self._embedding_of(DEFAULT_BACKBONE)

    def _embedding_of(self, name: str) -> ServedModel:
        backbone = load_backbone(name)
        plan = plan_compute(self._compute)
        embedder = Embedder(backbone, plan)
        model = ServedModel(
            EMBEDDING,
            "general",
            "embed",
            backbone.fingerprint[:32],
            _modified_at(efficientnet_lite0.packaged_file()),
            (),
            backbone.fingerprint,
            plan.precision,
            BatchModel(EMBEDDING, embedder.batch_size, embedder),
            backbone.preprocessing,
        )
        return self._warm_up(model)

    def _load_champion(self) -> None:
        registered = self._models.champion()
        self._warn_once("registry", registered.unreachable)
        known = self._served.get(NSFW)
        if known is None or known.fingerprint != registered.description.fingerprint:
            self._served[NSFW] = self._load(registered)
        elif registered.version and known.version != registered.version:
            self._served[NSFW] = replace(known, version=registered.version)

    def _load_version(self, number: str) -> ServedModel:
        try:
            registered = self._models.registry.version_at(f"models:/{MODEL}/{number}")
        except UserError as error:
            raise _no_version(number) from error
        if registered is None:
            raise _no_version(number)
        return self._load(registered)

    def _load(self, registered: RegisteredModel) -> ServedModel:
        plan = plan_compute(self._compute, CPU_BATCH_SIZE)
        classifier = load_classifier(registered.weights, plan)
        model = ServedModel(
            NSFW,
            "nsfw-v1.0",
            "concept",
            registered.version or UNNUMBERED,
            _modified_at(registered.weights),
            classifier.class_names,
            registered.description.fingerprint,
            plan.precision,
            BatchModel(NSFW, classifier.batch_size, partial(classify_photos, classifier)),
            classifier.preprocessing,
        )
        return self._warm_up(model)

    def _warm_up(self, model: ServedModel) -> ServedModel:
        """Run the model once, as the first run of a network takes longer; return it."""
        blank = partial(Image.new, "RGB", (WORKING_SHORT_SIDE, WORKING_SHORT_SIDE))
        self._batcher.submit(model.network, blank).result()
        return model


def scored_class(class_names: Sequence[str]) -> str:
    """Return the class whose probability decides between the frames of an animation."""
    # A version that was trained on other classes has its positive class last.
    return NSFW if NSFW in class_names else class_names[-1]


def _given(data: bytes) -> bytes:
    return data


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal() and len(version) < 10 and version[0] != "0"


def _no_version(version: str) -> ApiError:
    return ApiError(Code.NO_SUCH_MODEL, f"The model has no version {version[:32]}.")


def _modified_at(file: Path) -> str:
    return timestamp(datetime.fromtimestamp(file.stat().st_mtime, UTC))
