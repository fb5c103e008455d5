import io
import json
import logging
import subprocess
import sys

import pytest

from orchestration.api.logs import JsonLines, log_fault, log_request


@pytest.fixture
def lines():
    """Returns a function that reads what has been logged as JSON lines."""
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in file.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_request_is_a_line(lines):
    log_request(req_id="abc", route="/v2/inputs/{id}", status=200)
    (line,) = lines()
    assert line["req_id"] == "abc"
    assert line["route"] == "/v2/inputs/{id}"
    assert line["event"] == "request"
    assert line["time"].endswith("Z")


def test_a_fault_is_one_line_with_its_traceback(lines):
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log_fault("abc")
    (line,) = lines()
    assert line["req_id"] == "abc"
    assert line["level"] == "error"
    assert "ZeroDivisionError" in line["traceback"]


def test_what_libraries_log_is_json_too(lines):
    logging.getLogger("uvicorn.error").warning("two\nlines %s", "here")
    assert lines()[0]["event"] == "two\nlines here"


def test_a_line_is_a_line_whatever_is_in_it():
    record = logging.LogRecord("x", logging.INFO, "", 0, "a\n\x00\ud800", (), None)
    assert len(JsonLines().format(record).splitlines()) == 1


@pytest.mark.process
def test_all_that_a_process_logs_goes_to_standard_error_as_json():
    code = (
        "from orchestration.api.logs import configure_logs, log_request; import logging, warnings;"
        "configure_logs(); logging.getLogger('httpx').info('GET https://a/b?secret');"
        "warnings.warn('old'); log_request(status=200)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    warning, request = map(json.loads, done.stderr.splitlines())
    assert "old" in warning["event"]
    assert request["status"] == 200
    assert done.stdout == ""
