"""The status that every reply carries."""

from fastapi import Request

from orchestration.api.contract import Code, Status


def reply_status(request: Request, code: Code, details: str | None = None) -> Status:
    """Return the status of a reply to ``request``, with the id it goes by in the log.

    The log takes the code from the request's state.
    """
    status = Status.of(code, details)
    status.req_id = request.state.req_id
    request.state.code = code.number
    return status


def batch_code(n_failed: int, n: int) -> Code:
    """Return the code of a batch of which so many failed."""
    if not n_failed:
        return Code.OK
    return Code.MIXED if n_failed < n else Code.FAILURE
