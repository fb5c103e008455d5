"""What runs when something has changed."""

import json

import dagster as dg

from assets.methods.errors import UserError
from assets.methods.sources import list_source, listing_digest
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.photos import Photos
from orchestration.jobs import photo_map_job


@dg.sensor(
    job=photo_map_job,
    minimum_interval_seconds=60,
    description="Starts a run of a collection when its source's listing has changed.",
)
def new_images(context: dg.SensorEvaluationContext, photos: Photos) -> dg.SensorResult:
    """Compare each source's listing with the one at the last look, kept in the cursor."""
    seen = json.loads(context.cursor) if context.cursor else {}
    digests = {}
    requests = []
    for name in context.instance.get_dynamic_partitions(PARTITIONS_NAME):
        digest: str | None
        try:
            digest = listing_digest(list_source(photos.collection(name).source))
        except UserError as error:
            # One source out of reach must not keep the others from being looked at.
            context.log.warning(f"{name} was not looked at: {error}")
            digest = seen.get(name)
        if digest != seen.get(name):
            requests.append(dg.RunRequest(run_key=f"{name}:{digest}", partition_key=name))
        if digest is not None:
            digests[name] = digest
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(digests))
