"""The routes of models: they list the models, and return their outputs for images."""

import fnmatch
import re
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import now
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.photos.animation import Frame
from orchestration.api.context import service_of
from orchestration.api.contract import (
    PAGE_SIZE,
    Code,
    Concept,
    Embedding,
    FrameInfo,
    ImageReply,
    InputData,
    ModelQuery,
    ModelReply,
    ModelsReply,
    ModelVersion,
    OneModelReply,
    OutputData,
    OutputInfo,
    OutputInfoData,
    OutputProvenance,
    OutputReply,
    OutputsReply,
    Page,
    PerPage,
    PostOutputs,
    PredictInput,
    PredictInputReply,
    Reads,
    SearchModels,
    Status,
    StatusReply,
)
from orchestration.api.inference.batching import gather_or_cancel
from orchestration.api.inference.served_models import Prediction, ServedModel, ServedModels
from orchestration.api.inputs.images import ImageError, check_sources
from orchestration.api.replies import batch_code, reply_status

# Models belong to no collection. The original API gives its own models this app.
MODELS_APP = "main"

_OUTPUT_CONFIG: dict[str, dict[str, Any]] = {
    "concept": {"concepts_mutually_exclusive": True, "closed_environment": True},
    "embed": {},
}

router = APIRouter(tags=["models"])

# When every input of a batch failed, the reply is an error and still lists each input.
_ALL_FAILED: dict[int | str, dict[str, Any]] = {400: {"model": OutputsReply | StatusReply}}


@router.get("/v2/models", response_model_exclude_none=True)
async def list_models(
    request: Request, page: Page = 1, per_page: PerPage = PAGE_SIZE
) -> ModelsReply:
    """List the models."""
    found = await service_of(request).models.all()
    return _models_reply(request, found[(page - 1) * per_page : page * per_page])


@router.post("/v2/models/searches", response_model_exclude_none=True)
async def search_models(request: Request, body: SearchModels) -> ModelsReply:
    """Find models by name and type."""
    found = await service_of(request).models.all()
    return _models_reply(request, [model for model in found if _matches(model, body.model_query)])


@router.get("/v2/models/{model_id}", response_model_exclude_none=True)
async def get_model(request: Request, model_id: str) -> OneModelReply:
    """Describe a model."""
    model = await service_of(request).models.find(model_id)
    return OneModelReply(status=reply_status(request, Code.OK), model=_model_reply(model))


@router.get("/v2/models/{model_id}/output_info", response_model_exclude_none=True)
async def get_output_info(request: Request, model_id: str) -> OneModelReply:
    """Describe a model with its concepts."""
    return await _output_info(request, model_id)


@router.get(
    "/v2/models/{model_id}/versions/{version_id}/output_info", response_model_exclude_none=True
)
async def get_output_info_of_version(
    request: Request, model_id: str, version_id: str
) -> OneModelReply:
    """Describe a model version with its concepts."""
    return await _output_info(request, model_id, version_id)


@router.post(
    "/v2/models/{model_id}/outputs", response_model_exclude_none=True, responses=_ALL_FAILED
)
async def post_outputs(
    request: Request, response: Response, model_id: str, body: PostOutputs
) -> OutputsReply:
    """Return a model's outputs for images, which are not kept."""
    return await _outputs(request, response, body.inputs, model_id)


@router.post(
    "/v2/models/{model_id}/versions/{version_id}/outputs",
    response_model_exclude_none=True,
    responses=_ALL_FAILED,
)
async def post_outputs_of_version(
    request: Request, response: Response, model_id: str, version_id: str, body: PostOutputs
) -> OutputsReply:
    """Return a model version's outputs for images, which are not kept."""
    return await _outputs(request, response, body.inputs, model_id, version_id)


async def _output_info(
    request: Request, model_id: str, version: str | None = None
) -> OneModelReply:
    model = await service_of(request).models.find(model_id, version)
    described = _model_reply(model, with_concepts=True)
    return OneModelReply(status=reply_status(request, Code.OK), model=described)


async def _outputs(
    request: Request,
    response: Response,
    inputs: Sequence[PredictInput],
    model_id: str,
    version: str | None = None,
) -> OutputsReply:
    check_sources([posted.data.image for posted in inputs], Code.INVALID_PREDICTION)
    models = service_of(request).models
    model = await models.find(model_id, version)
    described = _model_reply(model)
    provenance = OutputProvenance.model_validate(model.provenance().parts())
    results = await gather_or_cancel([_predict(models, model, posted) for posted in inputs])
    outputs = [
        _output(posted, result, model, described, provenance)
        for posted, result in zip(inputs, results, strict=True)
    ]
    code = batch_code(sum(output.data is None for output in outputs), len(outputs))
    response.status_code = code.http_status
    return OutputsReply(status=reply_status(request, code), outputs=outputs)


async def _predict(
    models: ServedModels, model: ServedModel, posted: PredictInput
) -> Prediction | Status:
    try:
        return await models.predict(model, posted.data.image)
    except ImageError as error:
        return Status.of(error.code, error.detail)
    except UserError as error:
        return Status.of(Code.FAILURE, str(error))


def _output(
    posted: PredictInput,
    result: Prediction | Status,
    model: ServedModel,
    described: ModelReply,
    provenance: OutputProvenance,
) -> OutputReply:
    image = posted.data.image
    if isinstance(result, Status):
        status, data = result, None
    else:
        status, data = Status.of(Code.OK, result.note), _output_data(model, result)
    return OutputReply(
        id=uuid.uuid4().hex,
        status=status,
        created_at=now(),
        model=described,
        input=PredictInputReply(
            id=posted.id or uuid.uuid4().hex,
            data=InputData(image=ImageReply(url=image.url, crop=image.crop)),
        ),
        data=data,
        provenance=provenance,
    )


def _output_data(model: ServedModel, result: Prediction) -> OutputData:
    numbers = result.output.tolist()
    if model.type == "embed":
        return OutputData(embeddings=[Embedding(vector=numbers, num_dimensions=len(numbers))])
    by_name = zip(model.class_names, numbers, strict=True)
    ranked = sorted(by_name, key=lambda pair: pair[1], reverse=True)
    return OutputData(
        concepts=[_concept(model, name, value) for name, value in ranked],
        frame_info=None if result.frame is None else _frame_info(result.frame),
    )


def _frame_info(frame: Frame) -> FrameInfo:
    time = None if frame.seconds is None else round(1000 * frame.seconds)
    return FrameInfo(index=frame.number, time=time)


def _models_reply(request: Request, models: Sequence[ServedModel]) -> ModelsReply:
    return ModelsReply(
        status=reply_status(request, Code.OK), models=[_model_reply(model) for model in models]
    )


def _model_reply(model: ServedModel, with_concepts: bool = False) -> ModelReply:
    # The original API shows the concepts in output_info alone, and its clients cannot read them
    # anywhere else.
    concepts = [_concept(model, name) for name in model.class_names]
    return ModelReply(
        id=model.id,
        name=model.name,
        app_id=MODELS_APP,
        created_at=model.created_at,
        output_info=OutputInfo(
            type=model.type,
            output_config=_OUTPUT_CONFIG[model.type],
            data=OutputInfoData(concepts=concepts) if concepts and with_concepts else None,
        ),
        model_version=ModelVersion(
            id=model.version,
            created_at=model.created_at,
            status=Status.of(Code.MODEL_READY),
            fingerprint=model.identity.fingerprint,
            reads=_reads(model.reads),
        ),
    )


def _reads(preprocessing: Preprocessing) -> Reads:
    return Reads(
        short_side=preprocessing.resize,
        crop=preprocessing.crop,
        stretch=preprocessing.stretch,
        interpolation=preprocessing.interpolation,
    )


def _concept(model: ServedModel, name: str, value: float | None = None) -> Concept:
    created_at = model.created_at if value is None else None
    return Concept(id=name, name=name, app_id=MODELS_APP, created_at=created_at, value=value)


def _matches(model: ServedModel, query: ModelQuery) -> bool:
    # Only * is a wildcard here; fnmatch has others, too.
    pattern = re.sub(r"[\[?]", r"[\g<0>]", query.name.lower())
    return fnmatch.fnmatchcase(model.name, pattern) and query.type in (None, model.type)
