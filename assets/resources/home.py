"""The one folder that holds all state: Dagster's storage, MLflow's database, caches, outputs."""

import os
from pathlib import Path

from assets.methods.common.errors import UserError

# In a home that is being made of a backup: what is not yet in its place.
RESTORING = ".restoring"


def home_folder() -> Path:
    """Return ``TESSERA_HOME`` as absolute path; by default ``.tessera`` in the working folder.

    Raises UserError for a path with a question mark, and for a home that is half restored.
    """
    home = home_to_restore()
    if (home / RESTORING).exists():
        raise UserError(
            f"{home} is half restored from a backup: repeat `tessera restore`, or remove it."
        )
    return home


def home_to_restore() -> Path:
    """Return what ``home_folder`` does, be it half restored."""
    home = Path(os.environ.get("TESSERA_HOME") or ".tessera").absolute()
    # Dagster and MLflow write it into addresses of databases as it is, where it ends the path:
    # their databases would be beside the home, and each a part of the other.
    if "?" in str(home):
        raise UserError(
            f"The home {home} has a question mark in its path, which the addresses of its "
            "databases cannot hold: choose another folder as TESSERA_HOME."
        )
    return home
