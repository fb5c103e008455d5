"""The routes of visualizations."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from assets.methods.common.timestamps import timestamp
from orchestration.api.context import caller_of, service_of
from orchestration.api.contract import (
    Code,
    ImageReply,
    PostVisualization,
    Status,
    StatusReply,
    VisualizationData,
    VisualizationOutput,
    VisualizationReply,
)
from orchestration.api.image_addresses import PAGE
from orchestration.api.replies import reply_status
from orchestration.api.visualizations.served_visualizations import Visualization

router = APIRouter(tags=["visualizations"])


@router.post(
    "/v2/visualizations",
    status_code=202,
    response_model_exclude_none=True,
    responses={200: {"model": VisualizationReply, "description": "It is ready already"}},
)
def post_visualization(
    request: Request,
    response: Response,
    body: Annotated[PostVisualization | None, Body()] = None,
) -> VisualizationReply:
    """Map the app's inputs, all or some; the same request again returns the same visualization."""
    visualization = service_of(request).visualizations.request(
        caller_of(request).app, body or PostVisualization()
    )
    response.status_code = visualization.code.http_status
    return _reply(request, visualization)


@router.get("/v2/visualizations/app", response_model_exclude_none=True)
def newest_visualization(request: Request) -> VisualizationReply:
    """Return the app's newest visualization that is ready."""
    newest = service_of(request).visualizations.newest(caller_of(request).app)
    return _reply(request, newest)


@router.get("/v2/visualizations/{visualization_id}", response_model_exclude_none=True)
def get_visualization(request: Request, visualization_id: str) -> VisualizationReply:
    """Return a visualization: pending with its progress, ready with its image, or failed."""
    found = service_of(request).visualizations.find(caller_of(request).app, visualization_id)
    return _reply(request, found)


@router.delete("/v2/visualizations/{visualization_id}", response_model_exclude_none=True)
def delete_visualization(request: Request, visualization_id: str) -> StatusReply:
    """Cancel a visualization that is pending; remove one that has ended, with its image."""
    service_of(request).visualizations.delete(caller_of(request).app, visualization_id)
    return StatusReply(status=reply_status(request, Code.OK))


def _reply(request: Request, visualization: Visualization) -> VisualizationReply:
    output = VisualizationOutput(
        id=visualization.id,
        app_id=visualization.app,
        status=_status(visualization),
        created_at=timestamp(visualization.created_at),
        data=_data(request, visualization),
    )
    return VisualizationReply(
        status=reply_status(request, Code.OK), output=output, visualization_output=output
    )


def _status(visualization: Visualization) -> Status:
    status = Status.of(visualization.code, visualization.reason)
    if visualization.progress is not None:
        status.percent_completed = visualization.progress.percent
        status.time_remaining = round(visualization.progress.seconds_left, 1)
    return status


def _data(request: Request, visualization: Visualization) -> VisualizationData | None:
    if visualization.mosaic is None:
        return None
    addresses = service_of(request).image_addresses
    image_url = addresses.visualization_url(request, visualization.id, visualization.mosaic.name)
    page_url = addresses.visualization_url(request, visualization.id, PAGE)
    return VisualizationData(image=ImageReply(url=image_url), page=ImageReply(url=page_url))
