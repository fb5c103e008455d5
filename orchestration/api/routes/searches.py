"""The route of searches by visual similarity."""

from fastapi import APIRouter, Request

from orchestration.api.context import caller_of, service_of
from orchestration.api.contract import ApiError, Code, Hit, HitsReply, PostSearch
from orchestration.api.inference.served_models import EMBEDDING
from orchestration.api.inputs.images import ImageError, check_sources
from orchestration.api.replies import reply_status
from orchestration.api.routes.inputs import input_reply

router = APIRouter(tags=["searches"])


@router.post("/v2/searches", response_model_exclude_none=True)
async def post_search(request: Request, body: PostSearch) -> HitsReply:
    """Find the inputs that look most like an image, the most similar first."""
    service, app = service_of(request), caller_of(request).app
    image = body.query.ands[0].output.input.data.image
    check_sources([image], Code.INVALID_SEARCH)
    model = await service.models.find(EMBEDDING)
    try:
        found = await service.models.predict(model, image)
    except ImageError as error:
        raise ApiError(Code.INVALID_SEARCH, error.detail) from error
    page, per_page = body.pagination.page, body.pagination.per_page
    result = await service.searches.search(app, found.output, page, per_page)
    hits = [
        Hit(score=cosine, input=input_reply(request, app, stored)) for stored, cosine in result.hits
    ]
    details = None
    if result.n_missing:
        details = f"{result.n_missing:,} inputs have yet to be embedded and were not compared."
    return HitsReply(status=reply_status(request, Code.OK, details), hits=hits)
