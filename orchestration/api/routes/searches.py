"""The route of searches: by what inputs look like, and by what they have."""

import numpy as np
from fastapi import APIRouter, Request

from orchestration.api.context import caller_of, service_of
from orchestration.api.contract import ApiError, Code, Hit, HitsReply, ImageData, PostSearch
from orchestration.api.inference.batching import gather_or_cancel
from orchestration.api.inference.search_query import SearchQuery, read_query
from orchestration.api.inference.served_models import EMBEDDING, ServedModel
from orchestration.api.inputs.images import ImageError
from orchestration.api.replies import reply_status
from orchestration.api.routes.inputs import input_reply
from orchestration.api.service import Service

router = APIRouter(tags=["searches"])


@router.post("/v2/searches", response_model_exclude_none=True)
async def post_search(request: Request, body: PostSearch) -> HitsReply:
    """Find the inputs that look most like images, or that have this metadata or these concepts."""
    service, app = service_of(request), caller_of(request).app
    query = read_query(body.query)
    vector = await _vector(service, app, query)
    page, per_page = body.pagination.page, body.pagination.per_page
    result = await service.searches.search(app, vector, page, per_page, query.filter)
    hits = [
        Hit(score=cosine, input=input_reply(request, app, stored)) for stored, cosine in result.hits
    ]
    details = None
    if result.n_missing:
        details = f"{result.n_missing:,} inputs have yet to be embedded and were not compared."
    return HitsReply(status=reply_status(request, Code.OK, details), hits=hits)


async def _vector(service: Service, app: str, query: SearchQuery) -> np.ndarray | None:
    """Return the mean of the vectors of what is searched for, at unit length; None without any."""
    if not query.images and not query.inputs:
        return None
    model = await service.models.find(EMBEDDING)
    try:
        vectors = await gather_or_cancel(
            [
                *(_vector_of(service, model, image) for image in query.images),
                *(service.searches.vector_of(app, one.id, one.crop) for one in query.inputs),
            ]
        )
    except ImageError as error:
        raise ApiError(Code.INVALID_SEARCH, error.detail) from error
    if len(vectors) == 1:
        return vectors[0]
    total = np.stack(vectors).sum(axis=0, dtype=np.float64)
    # Opposite vectors have no mean direction; then every input is as similar as every other.
    return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


async def _vector_of(service: Service, model: ServedModel, image: ImageData) -> np.ndarray:
    return (await service.models.predict(model, image)).output
