"""Homes for tests."""

from pathlib import Path

import pytest


def point_to(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Point Dagster's and Tessera's environment to ``home``."""
    patch.setenv("TESSERA_HOME", str(home))
    patch.setenv("DAGSTER_HOME", str(home))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
