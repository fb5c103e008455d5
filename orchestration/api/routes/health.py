"""Whether the service lives, and whether it is ready."""

from fastapi import APIRouter, Request

from orchestration.api.context import service_of
from orchestration.api.contract import ApiError, Code, StatusReply
from orchestration.api.replies import reply_status

router = APIRouter()


@router.get("/healthz", response_model_exclude_none=True)
async def healthz(request: Request) -> StatusReply:
    """Say that the process answers."""
    return StatusReply(status=reply_status(request, Code.OK))


@router.get("/readyz", response_model_exclude_none=True)
async def readyz(request: Request) -> StatusReply:
    """Say that the models are loaded; 503 until they are."""
    if not service_of(request).ready:
        raise ApiError(
            Code.FAILURE, "The models are being loaded.", {"Retry-After": "1"}, http_status=503
        )
    return StatusReply(status=reply_status(request, Code.OK))
