"""The one folder that holds all state: Dagster's storage, MLflow's database, caches, outputs."""

import os
from pathlib import Path


def home_folder() -> Path:
    """Return ``TESSERA_HOME`` as absolute path; by default ``.tessera`` in the working folder."""
    return Path(os.environ.get("TESSERA_HOME") or ".tessera").absolute()
