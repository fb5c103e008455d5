"""The route that Prometheus reads."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from orchestration.api.context import service_of

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def read_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format; without a key only to this machine."""
    return Response(
        service_of(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )
