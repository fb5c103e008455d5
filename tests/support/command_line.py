"""Running the command line in the process of the tests, where a new one adds nothing."""

import sys
from pathlib import Path

import pytest

from orchestration.cli.main import main


def run_tessera(*arguments: str | Path) -> int:
    """Run `tessera ARGUMENTS...`, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tessera", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0
