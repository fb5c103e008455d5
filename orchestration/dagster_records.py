"""What Dagster's storage has of a run's events, and of the newest value of an asset."""

from collections.abc import Mapping, Set
from typing import Any

import dagster as dg


def events_of(
    instance: dg.DagsterInstance,
    run_id: str,
    kinds: dg.DagsterEventType | Set[dg.DagsterEventType],
) -> list[dg.DagsterEvent]:
    """Return the events of these kinds in the log of a run, the oldest first."""
    entries = instance.all_logs(run_id, of_type=kinds)  # type: ignore[arg-type]
    return [entry.dagster_event for entry in entries if entry.dagster_event]


def newest_materialization(
    instance: dg.DagsterInstance, asset: str, name: str, before: float | None = None
) -> dg.EventLogRecord | None:
    """Return the newest materialization of an asset of the collection called ``name``, if any.

    ``before`` is in seconds since 1970.
    """
    wanted = dg.AssetRecordsFilter(
        dg.AssetKey(asset), asset_partitions=[name], before_timestamp=before
    )
    found = instance.fetch_materializations(wanted, limit=1).records
    return found[0] if found else None


def metadata_of(record: dg.EventLogRecord | None) -> Mapping[str, Any]:
    """Return the metadata of a materialization; none of what is not there."""
    materialization = record.asset_materialization if record else None
    return materialization.metadata if materialization else {}
