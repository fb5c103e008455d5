"""The routes of inputs."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from assets.resources.input_store import DONE, PENDING, StoredInput
from orchestration.api.context import caller_of, service_of
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
    PatchInputs,
    PerPage,
    PostInputs,
    Status,
    StatusReply,
    no_such_input,
)
from orchestration.api.inputs.patches import Patched, patch_inputs
from orchestration.api.replies import batch_code, reply_status

router = APIRouter(tags=["inputs"])

# When every input of a batch failed, the reply is an error and still lists each input.
_ALL_FAILED: dict[int | str, dict[str, Any]] = {400: {"model": InputsReply | StatusReply}}


@router.post("/v2/inputs", response_model_exclude_none=True, responses=_ALL_FAILED)
async def post_inputs(request: Request, response: Response, body: PostInputs) -> InputsReply:
    """Store images, given as base64 or as URLs; the status of each says what became of it."""
    caller, service = caller_of(request), service_of(request)
    posted = service.intake.submit(caller.app, body.inputs, caller.limits.inputs)
    outcomes = await asyncio.wrap_future(posted)
    n_stored = sum(outcome.code in (DONE, PENDING) for outcome in outcomes)
    service.metrics.count_inputs(n_stored)
    code = batch_code(len(outcomes) - n_stored, len(outcomes))
    response.status_code = code.http_status
    replies = [input_reply(request, caller.app, stored) for stored in outcomes]
    return InputsReply(status=reply_status(request, code), inputs=replies)


@router.get("/v2/inputs", response_model_exclude_none=True)
def list_inputs(
    request: Request,
    page: Page = 1,
    per_page: PerPage = PAGE_SIZE,
) -> InputsReply:
    """Return a page of the inputs, the oldest first; pages after the last one are empty."""
    app = caller_of(request).app
    inputs = service_of(request).intake.store(app).page(page, per_page)
    replies = [input_reply(request, app, stored) for stored in inputs]
    return InputsReply(status=reply_status(request, Code.OK), inputs=replies)


@router.get("/v2/inputs/status", response_model_exclude_none=True)
def count_inputs(request: Request) -> CountsReply:
    """Return how many inputs are done, are waiting, have failed and are being downloaded."""
    counts = service_of(request).intake.counts(caller_of(request).app)
    return CountsReply(status=reply_status(request, Code.OK), counts=counts)


@router.get("/v2/inputs/{input_id}", response_model_exclude_none=True)
def get_input(request: Request, input_id: str) -> OneInputReply:
    """Return an input."""
    app = caller_of(request).app
    found = service_of(request).intake.store(app).find(input_id)
    if found is None:
        raise no_such_input(input_id)
    return OneInputReply(
        status=reply_status(request, Code.OK), input=input_reply(request, app, found)
    )


@router.patch("/v2/inputs", response_model_exclude_none=True, responses=_ALL_FAILED)
def change_inputs(request: Request, response: Response, body: PatchInputs) -> InputsReply:
    """Change the concepts and the metadata of inputs; the status of each says what became of it."""
    app = caller_of(request).app
    store = service_of(request).intake.store(app)
    patched = patch_inputs(store, body.inputs, body.action)
    missing = list(dict.fromkeys(one.id for one in patched if one.stored is None))
    if all(one.stored is None for one in patched):
        raise no_such_input(*missing)
    code = batch_code(sum(one.has_failed for one in patched), len(patched))
    response.status_code = code.http_status
    return InputsReply(
        status=reply_status(request, code, no_such_input(*missing).details if missing else None),
        inputs=[_patched_reply(request, app, one) for one in patched],
    )


@router.delete("/v2/inputs/{input_id}", response_model_exclude_none=True)
def delete_input(request: Request, input_id: str) -> StatusReply:
    """Delete an input."""
    if not service_of(request).intake.delete(caller_of(request).app, [input_id]):
        raise no_such_input(input_id)
    return StatusReply(status=reply_status(request, Code.OK))


@router.delete("/v2/inputs", response_model_exclude_none=True)
def delete_inputs(request: Request, body: DeleteInputs) -> StatusReply:
    """Delete the inputs with these ids, or all."""
    intake, app = service_of(request).intake, caller_of(request).app
    if bool(body.ids) == body.delete_all:
        raise ApiError(Code.INVALID_REQUEST, "Send either ids, or delete_all with the value true.")
    if body.delete_all:
        intake.delete_all(app)
        return StatusReply(status=reply_status(request, Code.OK))
    ids = dict.fromkeys(body.ids or ())
    deleted = intake.delete(app, list(ids))
    missing = [wanted for wanted in ids if wanted not in deleted]
    if not deleted:
        raise no_such_input(*missing)
    if missing:
        status = reply_status(request, Code.MIXED, no_such_input(*missing).details)
        return StatusReply(status=status)
    return StatusReply(status=reply_status(request, Code.OK))


def _patched_reply(request: Request, app: str, patched: Patched) -> InputReply:
    stored = patched.stored
    if stored is None:
        missing = no_such_input(patched.id)
        return InputReply(
            id=patched.id,
            data=InputData(image=ImageReply()),
            status=Status.of(missing.code, missing.details),
        )
    if patched.refusal is not None:
        stored = replace(stored, code=Code.INVALID_REQUEST.number, detail=patched.refusal)
    return input_reply(request, app, stored)


def input_reply(request: Request, app: str, stored: StoredInput) -> InputReply:
    """Return an input as replies show it.

    The URL of its image is the one that it was posted with, or else an address of this service.
    """
    image = ImageReply(url=stored.url, crop=stored.crop)
    if stored.url is None and stored.image_id is not None:
        # The file was cropped when it was stored, so the reply has no crop.
        addresses = service_of(request).image_addresses
        image = ImageReply(url=addresses.input_url(request, app, stored.image_id))
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
