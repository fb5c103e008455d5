"""The routes for operators: health checks, and metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from orchestration.api.context import service_of
from orchestration.api.contract import ApiError, Code, StatusReply
from orchestration.api.replies import reply_status

router = APIRouter()


@router.get("/healthz", response_model_exclude_none=True)
async def healthz(request: Request) -> StatusReply:
    """Return 200 while the process runs."""
    return StatusReply(status=reply_status(request, Code.OK))


@router.get("/readyz", response_model_exclude_none=True)
async def readyz(request: Request) -> StatusReply:
    """Return 200 when the models are loaded, and 503 before."""
    if not service_of(request).models.ready:
        raise ApiError(
            Code.FAILURE, "The models are being loaded.", {"Retry-After": "1"}, http_status=503
        )
    return StatusReply(status=reply_status(request, Code.OK))


@router.get("/metrics", include_in_schema=False)
def read_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format; without a key only to this machine."""
    text = service_of(request).metrics.text()
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
