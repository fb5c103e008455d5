"""The only Definitions of the project."""

import os
from typing import Any

import dagster as dg

from assets import nsfw, photo_map, training
from assets.checks.all_checks import ALL_CHECKS
from assets.io_managers import outputs_of
from assets.kept_maps import KeptMaps
from assets.resources.compute import Compute
from assets.resources.home import home_folder
from assets.resources.models import Models
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress, ProgressReporter
from assets.resources.tracking import Tracking
from orchestration.housekeeping.job import house_keeping
from orchestration.jobs import JOBS
from orchestration.notices import health
from orchestration.schedules import (
    health_after_the_night,
    nightly,
    nightly_gc,
    nightly_moderation,
    weekly,
)
from orchestration.sensors import (
    dead_runs,
    finish_canceled_runs,
    finish_failed_runs,
    kept_settings,
    new_images,
    notices,
    trained_model,
    unchanged_runs,
)


def build_resources(
    progress: ProgressReporter | None = None,
    compute: Compute | None = None,
    strict_tracking: bool = False,
) -> dict[str, Any]:
    """Return what the assets need, all state below the home."""
    home = home_folder()
    tracking = Tracking(
        home=str(home),
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", ""),
        dagster_url=os.environ.get("TESSERA_DAGSTER_URL", "http://127.0.0.1:3000"),
        mlflow_url=os.environ.get("TESSERA_MLFLOW_URL", "http://127.0.0.1:5000"),
        strict=strict_tracking,
    )
    return {
        "io_manager": outputs_of(home),
        "photos": Photos(home=str(home)),
        "maps": KeptMaps(home=str(home)),
        "compute": compute or Compute(),
        "models": Models(home, tracking),
        "tracking": tracking,
        "progress": progress or LogProgress(),
    }


def build_definitions(resources: dict[str, Any]) -> dg.Definitions:
    """Return assets, checks, jobs, schedules and sensors that run on ``resources``."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules([photo_map, nsfw, training, health]),
        asset_checks=ALL_CHECKS,
        jobs=[*JOBS.values(), house_keeping],
        schedules=[nightly, nightly_moderation, weekly, nightly_gc, health_after_the_night],
        sensors=[
            new_images,
            trained_model,
            kept_settings,
            finish_failed_runs,
            finish_canceled_runs,
            dead_runs,
            unchanged_runs,
            notices,
        ],
        # The assets form a chain: a process for each would only import everything again.
        executor=dg.in_process_executor,
        resources=resources,
    )


definitions = build_definitions(build_resources())
