"""A job for tests of runs whose work does not matter."""

import dagster as dg


@dg.job
def nothing() -> None:
    """Has no steps."""
