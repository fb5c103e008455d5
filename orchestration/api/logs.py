"""The log: one JSON object a line, on standard error.

A request's line has the template of its route, not its path: the paths of images are secrets.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from assets.methods.common.timestamps import timestamp

_requests = logging.getLogger("tessera.requests")
_faults = logging.getLogger("tessera.faults")


def configure_logs(level: int = logging.INFO) -> None:
    """Let this process write all its logs as lines of JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # They log the URLs that are downloaded, which may contain secrets.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)


def log_request(**facts: Any) -> None:
    """Log a request that was answered."""
    _requests.info("request", extra={"facts": facts})


def log_fault(req_id: str) -> None:
    """Log the exception that is being handled, with its traceback."""
    _faults.exception("fault", extra={"facts": {"req_id": req_id}})


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; a traceback is a string in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end."""
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
