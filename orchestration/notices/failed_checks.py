"""Asset checks whose newest evaluation failed at ERROR, by collection."""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

import dagster as dg

from assets.checks.all_checks import ALL_CHECKS
from assets.checks.collection_checks import COLLECTION, is_failure
from assets.generations import ACCEPTED
from orchestration.notices.cause import Cause, Kind
from orchestration.run_queue import PARTITION_TAG

_MOST_FAILURES = 200
_PAGE = 500


class _Status(StrEnum):
    """Dagster's own class for these values is private."""

    FAILED = "FAILED"
    SUCCEEDED = "SUCCEEDED"


@cache
def check_keys() -> Mapping[dg.AssetCheckKey, bool]:
    """Return the keys of all asset checks, and whether each is evaluated for every collection."""
    specs = [spec for check in ALL_CHECKS for spec in check.check_specs]
    return {spec.key: spec.partitions_def is not None for spec in specs}


def failed_checks(instance: dg.DagsterInstance, names: Collection[str]) -> Iterator[Cause]:
    """Yield the failed checks of collections with these ``names``, and of the model."""
    for key in check_keys():
        failures = {
            name: record
            for name, record in _newest_failures(instance, key).items()
            if (name is None or name in names) and is_failure(record.evaluation)
        }
        if failures:
            oldest = min(record.id for record in failures.values())
            passed = _newest_successes(instance, key, failures, oldest)
            for name, failure in sorted(failures.items(), key=lambda one: str(one[0])):
                is_open = passed.get(name, -1) < failure.id
                if is_open and not _is_accepted(instance, key, name, failure):
                    yield _cause(key, name, failure)


def _newest_failures(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dict[str | None, Any]:
    """Return the newest evaluation of each collection that did not pass: it may be a warning."""
    newest: dict[str | None, Any] = {}
    for record in _history(instance, key, _Status.FAILED, _MOST_FAILURES):
        newest.setdefault(_collection_of(instance, key, record), record)
    return newest


def _newest_successes(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, names: Collection[str | None], after: int
) -> dict[str | None, int]:
    """Return the numbers of the newest evaluations that passed after the one numbered ``after``."""
    newest: dict[str | None, int] = {}
    cursor = None
    while True:
        page = _history(instance, key, _Status.SUCCEEDED, _PAGE, cursor)
        for record in page:
            if record.id <= after or len(newest) == len(names):
                return newest
            name = _collection_of(instance, key, record)
            if name in names:
                newest.setdefault(name, record.id)
        if len(page) < _PAGE:
            return newest
        cursor = page[-1].id


def _history(
    instance: dg.DagsterInstance,
    key: dg.AssetCheckKey,
    status: _Status,
    limit: int,
    cursor: int | None = None,
) -> list[Any]:
    """Return the newest evaluations with a status, the newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history
    return list(history(key, limit, cursor, {status}))  # type: ignore[arg-type]


def _collection_of(instance: dg.DagsterInstance, key: dg.AssetCheckKey, record: Any) -> str | None:
    """Return the collection that an evaluation belongs to: its partition, or its run's."""
    if not check_keys()[key]:
        return None
    if record.partition is not None:
        return str(record.partition)
    named = record.evaluation.metadata.get(COLLECTION)
    if named is not None:
        return str(named.value)
    run = instance.get_run_by_id(record.run_id)
    return run.tags.get(PARTITION_TAG) if run is not None else None


def _is_accepted(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, name: str | None, failure: Any
) -> bool:
    """Whether somebody has accepted the asset after its check had failed."""
    wanted = dg.AssetRecordsFilter(
        key.asset_key,
        asset_partitions=None if name is None else [name],
        after_timestamp=failure.event.timestamp,
    )
    found = instance.fetch_observations(wanted, limit=1).records
    observation = found[0].asset_observation if found else None
    accepted = observation.metadata.get(ACCEPTED) if observation else None
    return accepted is not None and bool(accepted.value)


def _cause(key: dg.AssetCheckKey, name: str | None, record: Any) -> Cause:
    of = "" if name is None else f" for the collection {name}"
    return Cause(
        Kind.FAILED_CHECK,
        name,
        key.name,
        record.event.timestamp,
        f"The check {key.name} of {key.asset_key.to_user_string()} failed{of}.",
        record.run_id,
    )
