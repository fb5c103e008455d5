"""The log: a JSON object a line on standard error.

A request's line has its route's template, not its address: addresses of pictures are secrets.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from assets.methods.common.timestamps import timestamp

_requests = logging.getLogger("tessera.requests")
_faults = logging.getLogger("tessera.faults")


def configure_logs(level: int = logging.INFO) -> None:
    """Have everything that this process logs written as lines of JSON, in place of other forms."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Theirs name the addresses that are downloaded, and those may hold somebody's secrets.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)


def log_request(**facts: Any) -> None:
    """Write the line of a request that was answered."""
    _requests.info("request", extra={"facts": facts})


def log_fault(req_id: str) -> None:
    """Write the line of the exception that is being handled, with its traceback."""
    _faults.exception("fault", extra={"facts": {"req_id": req_id}})


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON, a traceback as a string in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
