"""The routes of inputs: posted, asked for, counted and deleted."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from assets.resources.input_store import DONE, PENDING, StoredInput
from orchestration.api.contract import (
    PAGE_SIZE,
    ApiError,
    Code,
    Concept,
    CountsReply,
    DeleteInputs,
    ImageReply,
    InputData,
    InputReply,
    InputsReply,
    OneInputReply,
    Page,
    PerPage,
    PostInputs,
    Status,
    StatusReply,
)
from orchestration.api.replies import batch_code, reply_status

router = APIRouter(tags=["inputs"])

# A batch all of which failed says so of each input.
_ALL_FAILED: dict[int | str, dict[str, Any]] = {400: {"model": InputsReply | StatusReply}}


@router.post("/v2/inputs", response_model_exclude_none=True, responses=_ALL_FAILED)
async def post_inputs(request: Request, response: Response, body: PostInputs) -> InputsReply:
    """Store pictures, sent along or to be downloaded; each is told what became of it."""
    caller, service = request.state.caller, request.app.state.service
    posted = service.intake.submit(caller.app, body.inputs, caller.limits.inputs)
    outcomes = await asyncio.wrap_future(posted)
    n_stored = sum(outcome.code in (DONE, PENDING) for outcome in outcomes)
    service.metrics.inputs_stored(n_stored)
    code = batch_code(len(outcomes) - n_stored, len(outcomes))
    response.status_code = code.http_status
    return InputsReply(
        status=reply_status(request, code), inputs=_replies(request, caller.app, outcomes)
    )


@router.get("/v2/inputs", response_model_exclude_none=True)
def list_inputs(
    request: Request,
    page: Page = 1,
    per_page: PerPage = PAGE_SIZE,
) -> InputsReply:
    """Return a page of the inputs, the oldest first; empty after the last."""
    app = request.state.caller.app
    inputs = request.app.state.service.intake.store(app).page(page, per_page)
    return InputsReply(status=reply_status(request, Code.OK), inputs=_replies(request, app, inputs))


@router.get("/v2/inputs/status", response_model_exclude_none=True)
def count_inputs(request: Request) -> CountsReply:
    """Return how many inputs are done, wait, have failed and are being downloaded."""
    counts = request.app.state.service.intake.counts(request.state.caller.app)
    return CountsReply(status=reply_status(request, Code.OK), counts=counts)


@router.get("/v2/inputs/{input_id}", response_model_exclude_none=True)
def get_input(request: Request, input_id: str) -> OneInputReply:
    """Return an input."""
    app = request.state.caller.app
    found = request.app.state.service.intake.store(app).find(input_id)
    if found is None:
        raise _no_such_input(input_id)
    return OneInputReply(
        status=reply_status(request, Code.OK), input=input_reply(request, app, found)
    )


@router.delete("/v2/inputs/{input_id}", response_model_exclude_none=True)
def delete_input(request: Request, input_id: str) -> StatusReply:
    """Delete an input."""
    intake = request.app.state.service.intake
    if not intake.delete(request.state.caller.app, [input_id]):
        raise _no_such_input(input_id)
    return StatusReply(status=reply_status(request, Code.OK))


@router.delete("/v2/inputs", response_model_exclude_none=True)
def delete_inputs(request: Request, body: DeleteInputs) -> StatusReply:
    """Delete the inputs that are named, or all."""
    intake, app = request.app.state.service.intake, request.state.caller.app
    if bool(body.ids) == body.delete_all:
        raise ApiError(
            Code.INVALID_REQUEST, "Say which inputs: either ids, or delete_all with true."
        )
    if body.delete_all:
        intake.delete_all(app)
        return StatusReply(status=reply_status(request, Code.OK))
    ids = dict.fromkeys(body.ids or ())
    deleted = intake.delete(app, list(ids))
    missing = [wanted for wanted in ids if wanted not in deleted]
    if not deleted:
        raise _no_such_input(*missing)
    if missing:
        status = reply_status(request, Code.MIXED, _no_such_input(*missing).details)
        return StatusReply(status=status)
    return StatusReply(status=reply_status(request, Code.OK))


def input_reply(request: Request, app: str, stored: StoredInput) -> InputReply:
    """Return an input as replies show it.

    Its picture's address is the one it was posted with, or where this service shows it.
    """
    image = ImageReply(url=stored.url, crop=stored.crop)
    if stored.url is None and stored.image_id is not None:
        # What is shown here was cropped when it was stored.
        pictures = request.app.state.service.pictures
        image = ImageReply(url=pictures.input_url(request, app, stored.image_id))
    concepts = [
        Concept(id=name, name=name, app_id=app, value=value) for name, value in stored.concepts
    ]
    return InputReply(
        id=stored.id,
        data=InputData(image=image, concepts=concepts or None, metadata=stored.metadata or None),
        created_at=stored.created_at,
        modified_at=stored.modified_at,
        status=Status.of(Code.of(stored.code), stored.detail),
    )


def _replies(request: Request, app: str, inputs: Sequence[StoredInput]) -> list[InputReply]:
    return [input_reply(request, app, stored) for stored in inputs]


def _no_such_input(*ids: str) -> ApiError:
    others = f" and {len(ids) - 1:,} others" * (len(ids) > 1)
    return ApiError(Code.NO_SUCH_INPUT, f"There is no input {ids[0]}{others}.")
