"""What became of each collection last night, as a table: the asset ``health`` and `tessera status`.

It is computed from Dagster's storage, the collections, and what the sensor ``notices`` has noted.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets.checks.collection_checks import is_failure
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.resources.collections import PARTITIONS_NAME, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.dagster_records import events_of, metadata_of, newest_materialization
from orchestration.notices.cause import Cause, in_words
from orchestration.notices.round import look_around
from orchestration.notices.settings import NoticeSettings
from orchestration.notices.state import NoticeState, SeenSource, StateFile
from orchestration.run_queue import NIGHTS, PARTITION_TAG, SCHEDULE_TAG
from orchestration.source_looks import SourceLooks

_ENDED = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "was cancelled",
}


@dataclass(frozen=True)
class CollectionHealth:
    """One row: a collection, what is wrong with it, and its last night in words, with times in UTC.

    Counts and minutes are None where nothing is known of them.
    """

    collection: str
    state: str
    wrong: str
    night_map: str
    night_scores: str
    checks: str
    source: str
    photos: int | None
    rejected: int | None
    minutes: float | None


def state_now(
    instance: dg.DagsterInstance, home: Path, settings: NoticeSettings, looks: SourceLooks
) -> NoticeState:
    """Return what is wrong now; what is stored stays as it is."""
    state = StateFile(home).read()
    look_around(instance, home, settings, state, looks, time.time())
    return state


def health_of_collections(
    instance: dg.DagsterInstance, home: Path, state: NoticeState
) -> list[CollectionHealth]:
    """Return a row for each collection, in the order of their names."""
    names = instance.get_dynamic_partitions(PARTITIONS_NAME)
    known = {one.name for one in CollectionRegistry(home).all()}
    return [
        _row(instance, name, name in known, state.open.values(), state.sources)
        for name in sorted(names)
    ]


@dg.asset(group_name="operation", code_version="1")
def health(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """What became of each collection last night, one row a collection, and what is wrong now.

    All times are in UTC.
    """
    home = home_folder()
    try:
        # The sensor looks at the sources; what it has noted is enough.
        settings = replace(NoticeSettings.from_environment(), look_minutes=0)
    except UserError as error:
        raise dg.Failure(shown(str(error)), allow_retries=False) from error
    state = state_now(context.instance, home, settings, SourceLooks())
    rows = health_of_collections(context.instance, home, state)
    return dg.MaterializeResult(
        metadata={
            "collections": len(rows),
            "healthy": sum(row.state == "fine" for row in rows),
            "open_causes": len(state.open),
            "last_night": _table(rows, CollectionHealth),
            "causes": _table(map(_cause_row, state.open.values()), _CauseRow),
        }
    )


@dataclass(frozen=True)
class _CauseRow:
    kind: str
    collection: str
    subject: str
    since: str
    what: str


def _cause_row(cause: Cause) -> _CauseRow:
    return _CauseRow(
        cause.kind_in_words,
        cause.collection or "",
        cause.subject,
        in_words(cause.since),
        cause.what,
    )


def _table(rows: Iterable[Any], kind: type) -> dg.TableMetadataValue:
    names: dict[Any, str] = {int | None: "int", float | None: "float"}
    columns = [
        dg.TableColumn(field.name, names.get(field.type, "string")) for field in fields(kind)
    ]
    records = [dg.TableRecord(asdict(row)) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _row(
    instance: dg.DagsterInstance,
    name: str,
    is_known: bool,
    causes: Iterable[Cause],
    sources: Mapping[str, SeenSource],
) -> CollectionHealth:
    wrong = [cause for cause in causes if cause.collection == name]
    catalogue = metadata_of(newest_materialization(instance, "raw_images", name))
    nights = [_last_of(instance, name, schedule) for schedule in NIGHTS]
    seconds = [
        record.end_time - record.start_time
        for record in nights
        if record and record.start_time and record.end_time
    ]
    night_map, night_scores = map(_night_in_words, nights)
    return CollectionHealth(
        collection=name,
        state="wrong" if wrong else "fine",
        wrong="; ".join(f"{cause.kind_in_words} {cause.subject}".strip() for cause in wrong),
        night_map=night_map,
        night_scores=night_scores,
        checks=_checks_in_words(instance, nights),
        source=_source_in_words(sources.get(name)) if is_known else "not known",
        photos=_number(catalogue, "photos"),
        rejected=_number(catalogue, "rejected"),
        minutes=round(sum(seconds) / 60, 1) if seconds else None,
    )


def _last_of(instance: dg.DagsterInstance, name: str, schedule: str) -> dg.RunRecord | None:
    wanted = dg.RunsFilter(tags={PARTITION_TAG: name, SCHEDULE_TAG: schedule})
    found = instance.get_run_records(wanted, limit=1)
    return found[0] if found else None


def _night_in_words(record: dg.RunRecord | None) -> str:
    if record is None:
        return ""
    status = record.dagster_run.status
    since = record.create_timestamp.timestamp()
    moment = (record.end_time or since) if status in _ENDED else since
    word = _ENDED.get(status, f"{status.value.lower()} since")
    return f"{word} {in_words(moment).removesuffix(' UTC')}"


def _checks_in_words(instance: dg.DagsterInstance, records: Iterable[dg.RunRecord | None]) -> str:
    """Return how many checks of runs passed, warned and failed."""
    evaluated = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    counts = {"passed": 0, "warned": 0, "failed": 0}
    for record in filter(None, records):
        for event in events_of(instance, record.dagster_run.run_id, evaluated):
            evaluation = event.asset_check_evaluation_data
            failed = "failed" if is_failure(evaluation) else "warned"
            counts["passed" if evaluation.passed else failed] += 1
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n)


def _source_in_words(seen: SeenSource | None) -> str:
    if seen is None:
        return "not looked at"
    if seen.unreached_since is not None:
        return "out of reach"
    return "as mapped" if seen.differs_since is None else "changed"


def _number(metadata: Mapping[str, Any], name: str) -> int | None:
    found = metadata.get(name)
    return int(found.value) if found is not None else None
