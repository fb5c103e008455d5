"""The routes of visualizations."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import timestamp
from orchestration.api.context import caller_of, service_of
from orchestration.api.contract import (
    Code,
    ImageReply,
    NearPhoto,
    PlacementReply,
    PlacementsReply,
    PostPlacements,
    PostVisualization,
    PredictInput,
    Status,
    StatusReply,
    VisualizationData,
    VisualizationOutput,
    VisualizationReply,
)
from orchestration.api.image_addresses import PAGE
from orchestration.api.inference.batching import gather_or_cancel
from orchestration.api.inputs.images import ImageError, check_sources
from orchestration.api.replies import batch_code, reply_status
from orchestration.api.visualizations.placements import OpenMap, Placements
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


@router.post(
    "/v2/visualizations/{visualization_id}/placements",
    response_model_exclude_none=True,
    responses={
        400: {
            "model": PlacementsReply | StatusReply,
            "description": "Refused, or all images failed",
        }
    },
)
async def post_placements(
    request: Request, response: Response, visualization_id: str, body: PostPlacements
) -> PlacementsReply:
    """Say where on a map images would lie, which are not kept."""
    check_sources([posted.data.image for posted in body.inputs], Code.INVALID_VISUALIZATION)
    placements = service_of(request).placements
    on = await placements.open_map(caller_of(request).app, visualization_id)
    placed = await gather_or_cancel([_placed(placements, on, one) for one in body.inputs])
    code = batch_code(sum(one.x is None for one in placed), len(placed))
    response.status_code = code.http_status
    return PlacementsReply(status=reply_status(request, code), placements=placed)


@router.delete("/v2/visualizations/{visualization_id}", response_model_exclude_none=True)
def delete_visualization(request: Request, visualization_id: str) -> StatusReply:
    """Cancel a visualization that is pending; remove one that has ended, with its image."""
    service_of(request).visualizations.delete(caller_of(request).app, visualization_id)
    return StatusReply(status=reply_status(request, Code.OK))


async def _placed(placements: Placements, on: OpenMap, posted: PredictInput) -> PlacementReply:
    identity = posted.id or uuid.uuid4().hex
    try:
        found = await placements.place(on, posted.data.image)
    except ImageError as error:
        return PlacementReply(id=identity, status=Status.of(error.code, error.detail))
    except UserError as error:
        return PlacementReply(id=identity, status=Status.of(Code.FAILURE, str(error)))
    place = found.place
    return PlacementReply(
        id=identity,
        status=Status.of(Code.OK, found.note),
        placed_by="network" if place.by_network else "neighbours",
        x=place.x,
        y=place.y,
        row=place.row,
        col=place.col,
        neighbours=[NearPhoto(id=one, score=cosine) for one, cosine in found.neighbours],
    )


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
