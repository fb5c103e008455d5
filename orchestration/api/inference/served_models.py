"""The models that requests are answered from: loaded once, kept warm, and replaced when need be."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputeSettings, plan_compute, usable_cores
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import timestamp
from assets.methods.models import efficientnet_lite0
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.embedding import Embedder
from assets.methods.models.scoring import classify_photos
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.photos.decode import WORKING_SHORT_SIDE
from assets.methods.photos.download import FetchLimits
from assets.resources.models import Models
from assets.resources.registry import MODEL, RegisteredModel
from assets.resources.tracking import Warn
from orchestration.api.contract import ApiError, Code, ImageData, throttled
from orchestration.api.inference.batching import Batcher, BatchModel, Busy
from orchestration.api.inputs.images import read_image, working_copy

NSFW = "nsfw"
EMBEDDING = "general-embedding"
# What the models are called by clients of the original.
ALIASES = {
    "nsfw-v1.0": NSFW,
    "e9576d86d2004ed1a38ba0cf39ecb4b1": NSFW,
    "general": EMBEDDING,
    "bbb5f41425b8468d9b7a554ff10f8581": EMBEDDING,
}
DOWNLOADS = 16
POLL_SECONDS = 15.0
BUSY_SECONDS = 5
# The version's id while the registry cannot be asked for its number.
UNNUMBERED = "champion"

_OTHER_VERSIONS = 2


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready to answer; ``class_names`` is empty for an embedding."""

    id: str
    name: str
    type: Literal["concept", "embed"]
    version: str
    created_at: str
    class_names: tuple[str, ...]
    fingerprint: str
    network: BatchModel


class ServedModels:
    """The champion of the NSFW model and its other versions, and the embedding of `embeddings`.

    All of them answer from the working copy, as the assets do: with the same bits.

    Args:
        models: where the champion comes from.
        compute: where to compute, and how much at a time.
        limits: what one picture may cost.
        warn: told in a sentence of what an operator should know.
        on_batch: told of each batch the model's id and the number of pictures.
        poll_seconds: how often the registry is asked who is champion.
    """

    def __init__(
        self,
        models: Models,
        compute: ComputeSettings,
        limits: FetchLimits,
        warn: Warn,
        on_batch: Callable[[str, int], object],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._models = models
        self._compute = compute
        self._limits = limits
        self._warn = warn
        self._poll_seconds = poll_seconds
        self._batcher = Batcher(compute.threads or usable_cores(), on_batch)
        self._served: dict[str, ServedModel] = {}
        # The versions beside the champion that were asked for last.
        self._others: OrderedDict[str, ServedModel] = OrderedDict()
        self._warned: dict[str, str] = {}
        self._tried: Future[None] = Future()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_current, name="models", daemon=True)
        # One thread, so that a second question for the same version finds it loaded.
        self._loading = ThreadPoolExecutor(1, "model-versions")
        self._downloading = ThreadPoolExecutor(DOWNLOADS, "model-downloads")

    @property
    def ready(self) -> bool:
        """Whether every model has been loaded."""
        return len(self._served) == 2

    def start(self) -> None:
        """Begin to load; questions that come before wait."""
        self._keeper.start()

    def close(self) -> None:
        """Stop; what waits for a model is cancelled."""
        self._closing.set()
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._downloading.shutdown(wait=False, cancel_futures=True)
        self._batcher.close()

    async def all(self) -> list[ServedModel]:
        """Return the models, in their current versions."""
        return [await self.find(NSFW), await self.find(EMBEDDING)]

    async def find(self, model_id: str, version: str | None = None) -> ServedModel:
        """Return a model by its id, name or alias, in a version or the current one.

        Raises ApiError: there is none, or it could not be loaded.
        """
        if not self._tried.done():
            await asyncio.shield(asyncio.wrap_future(self._tried))
        model_id = ALIASES.get(model_id, model_id)
        if model_id not in (NSFW, EMBEDDING):
            raise ApiError(Code.NO_SUCH_MODEL, "There is no model with this id.")
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

    async def answer(self, model: ServedModel, image: ImageData) -> np.ndarray:
        """Return the probabilities by class, or the vector: (d,) float32.

        Raises ImageError; ApiError when too much waits already; UserError when the model fails.
        """
        load = partial(_open, image, self._limits)
        if image.url is not None:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._downloading, read_image, image, self._limits)
            load = partial(working_copy, data)
        return await asyncio.wrap_future(self.submit(model, load))

    def submit(self, model: ServedModel, load: Callable[[], Image.Image]) -> Future[np.ndarray]:
        """Have the model answer for the working copy that ``load`` opens; return at once.

        Raises ApiError when too much waits already.
        """
        try:
            return self._batcher.submit(model.network, load)
        except Busy as busy:
            raise throttled(str(busy), BUSY_SECONDS) from busy

    def _keep_current(self) -> None:
        self._batcher.start()
        while not self._closing.is_set():
            if EMBEDDING not in self._served:
                self._attempt("embedding", self._load_embedding)
            self._attempt("champion", self._follow_champion)
            if not self._tried.done():
                self._tried.set_result(None)
            self._closing.wait(self._poll_seconds)

    def _attempt(self, what: str, load: Callable[[], None]) -> None:
        try:
            load()
        except Exception as error:
            # The service goes on with what it has, and tries again.
            if not self._closing.is_set():
                self._warn_once(what, f"The {what} could not be loaded ({error}).")

    def _warn_once(self, what: str, sentence: str) -> None:
        if sentence and self._warned.get(what) != sentence:
            self._warn(sentence)
        self._warned[what] = sentence

    def _load_embedding(self) -> None:
        plan, backbone = plan_compute(self._compute), load_backbone(DEFAULT_BACKBONE)
        model = ServedModel(
            EMBEDDING,
            "general",
            "embed",
            backbone.fingerprint[:32],
            _modified_at(efficientnet_lite0.packaged_file()),
            (),
            backbone.fingerprint,
            BatchModel(EMBEDDING, plan.batch_size, Embedder(backbone, plan)),
        )
        self._served[EMBEDDING] = self._warmed(model)

    def _follow_champion(self) -> None:
        registered = self._models.champion()
        self._warn_once("registry", registered.unreachable)
        known = self._served.get(NSFW)
        if known is None or known.fingerprint != registered.description.fingerprint:
            self._served[NSFW] = self._loaded(registered)
        elif registered.version and known.version != registered.version:
            self._served[NSFW] = replace(known, version=registered.version)

    def _version(self, number: str) -> ServedModel:
        kept = self._others.get(number)
        if kept is None:
            try:
                registered = self._models.registry.version_at(f"models:/{MODEL}/{number}")
            except UserError as error:
                raise _no_version(number) from error
            if registered is None:
                raise _no_version(number)
            kept = self._loaded(registered)
        self._others[number] = kept
        self._others.move_to_end(number)
        while len(self._others) > _OTHER_VERSIONS:
            self._others.popitem(last=False)
        return kept

    def _loaded(self, registered: RegisteredModel) -> ServedModel:
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
            BatchModel(NSFW, classifier.batch_size, partial(classify_photos, classifier)),
        )
        return self._warmed(model)

    def _warmed(self, model: ServedModel) -> ServedModel:
        """Return the model once it has answered: the first answer of a network takes longer."""
        blank = partial(Image.new, "RGB", (WORKING_SHORT_SIDE, WORKING_SHORT_SIDE))
        self._batcher.submit(model.network, blank).result()
        return model


def _open(image: ImageData, limits: FetchLimits) -> Image.Image:
    return working_copy(read_image(image, limits))


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal() and len(version) < 10 and version[0] != "0"


def _no_version(version: str) -> ApiError:
    return ApiError(Code.NO_SUCH_MODEL, f"The model has no version {version[:32]}.")


def _modified_at(file: Path) -> str:
    return timestamp(datetime.fromtimestamp(file.stat().st_mtime, UTC))
