"""The status of a reply, and the response to an error."""

from fastapi import Request
from fastapi.responses import JSONResponse

from orchestration.api.context import RequestContext, context_of
from orchestration.api.contract import ApiError, Code, Status, StatusReply


def reply_status(request: Request, code: Code, details: str | None = None) -> Status:
    """Return the status of a reply, and note its code for the log."""
    return _status(context_of(request), code, details)


def error_response(context: RequestContext, error: ApiError) -> JSONResponse:
    """Return the response to a request that is refused, and note its code for the log."""
    reply = StatusReply(status=_status(context, error.code, error.details))
    return JSONResponse(reply.model_dump(exclude_none=True), error.http_status, error.headers)


def batch_code(n_failed: int, n: int) -> Code:
    """Return the code of a batch of ``n``, of which ``n_failed`` failed."""
    if not n_failed:
        return Code.OK
    return Code.MIXED if n_failed < n else Code.FAILURE


def _status(context: RequestContext, code: Code, details: str | None) -> Status:
    context.code = code.number
    return Status.of(code, details, context.req_id)
