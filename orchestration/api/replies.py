"""The status of a reply."""

from fastapi import Request

from orchestration.api.context import context_of
from orchestration.api.contract import Code, Status


def reply_status(request: Request, code: Code, details: str | None = None) -> Status:
    """Return the status of a reply to ``request``, with the id that the request has in the log.

    It also notes the code in the request's context, for the log.
    """
    context = context_of(request)
    context.code = code.number
    return Status.of(code, details, context.req_id)


def batch_code(n_failed: int, n: int) -> Code:
    """Return the code of a batch of ``n``, of which ``n_failed`` failed."""
    if not n_failed:
        return Code.OK
    return Code.MIXED if n_failed < n else Code.FAILURE
