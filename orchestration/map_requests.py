"""Whether a collection whose source has changed is to be mapped now, by what Dagster has stored."""

import time
from enum import Enum

import dagster as dg

from orchestration.dagster_records import metadata_of, newest_materialization
from orchestration.dead_runs import UNFINISHED
from orchestration.run_queue import PARTITION_TAG

# Of a run that the sensor asked for: the digest of the listing that is to be mapped.
LISTING_TAG = "tessera/listing"
# Of raw_images: the digest of the listing that was catalogued.
LISTING_METADATA = "listing"

MOST_TRIES = 5
# After the first run that failed; after each further one it is twice as long.
FIRST_PAUSE_SECONDS = 300.0
# Runs of a collection that are looked through for those of the sensor.
_RECENT_RUNS = 50

_AT_WORK = {dg.DagsterRunStatus.QUEUED, *UNFINISHED}


class Answer(Enum):
    """What becomes of a listing that is not known to be mapped."""

    MAPPED = "it is mapped"
    AT_WORK = "a run is at work on the collection"
    ASK = "a run is to be asked for"
    PAUSE = "the last run failed a short while ago"
    GIVEN_UP = "its runs failed too often"
    CANCELLED = "somebody cancelled its run"


def decide(instance: dg.DagsterInstance, name: str, digest: str) -> Answer:
    """Decide what to do about the listing with this digest of the collection called ``name``.

    Whoever has mapped it counts: the sensor, the night, a command line or somebody in the UI.
    """
    records = instance.get_run_records(
        dg.RunsFilter(tags={PARTITION_TAG: name}), limit=_RECENT_RUNS
    )
    if any(record.dagster_run.status in _AT_WORK for record in records):
        return Answer.AT_WORK
    if _is_mapped(instance, name, digest):
        return Answer.MAPPED
    asked = [record for record in records if LISTING_TAG in record.dagster_run.tags]
    n_failed = 0
    for record in asked:
        run = record.dagster_run
        if run.tags[LISTING_TAG] != digest:
            break
        if run.status is dg.DagsterRunStatus.SUCCESS:
            # The source had changed before the run began, and has changed back since.
            return Answer.MAPPED if n_failed == 0 else Answer.ASK
        if run.status is dg.DagsterRunStatus.CANCELED:
            return Answer.CANCELLED
        n_failed += run.status is dg.DagsterRunStatus.FAILURE
    if n_failed == 0:
        return Answer.ASK
    if n_failed >= MOST_TRIES:
        return Answer.GIVEN_UP
    ended = asked[0].end_time or asked[0].update_timestamp.timestamp()
    pause = FIRST_PAUSE_SECONDS * 2 ** (n_failed - 1)
    return Answer.ASK if time.time() - ended >= pause else Answer.PAUSE


def _is_mapped(instance: dg.DagsterInstance, name: str, digest: str) -> bool:
    """Whether the last catalogue is of this listing, and a mosaic was drawn after it."""
    catalogued = newest_materialization(instance, "raw_images", name)
    drawn = newest_materialization(instance, "mosaic", name)
    if catalogued is None or drawn is None or drawn.timestamp < catalogued.timestamp:
        return False
    listing = metadata_of(catalogued).get(LISTING_METADATA)
    return listing is not None and listing.value == digest
