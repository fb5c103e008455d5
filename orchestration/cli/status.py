"""`tessera status`: what is wrong with collections, runs and nights, and who has been told."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import dagster as dg
from filelock import Timeout

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from orchestration.instance import open_instance, prepare_home
from orchestration.notices.cause import Cause, for_programs
from orchestration.notices.delivery import put_into
from orchestration.notices.health import health_of_collections, state_now
from orchestration.notices.missed_nights import schedules_that_are_on
from orchestration.notices.notice import notice_for_test
from orchestration.notices.receivers import NotDeliveredError, receivers_of
from orchestration.notices.round import go_round, page_of
from orchestration.notices.settings import PREFIX, NoticeSettings
from orchestration.notices.state import NoticeState, Queue, StateFile
from orchestration.queue_processes import HEARTBEAT_SECONDS
from orchestration.source_looks import SourceLooks

# Somebody waits in front of a terminal.
_LOOK_SECONDS = 10.0
_LOCK_SECONDS = 60.0
_COLUMNS = {
    "collection": "collection",
    "state": "state",
    "map of the night": "night_map",
    "scores of the night": "night_scores",
    "checks": "checks",
    "source": "source",
    "photos": "photos",
    "rejected": "rejected",
}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--deliver",
    is_flag=True,
    help="Tell the receivers what has changed, as the sensor notices does.",
)
@click.option("--test-notice", is_flag=True, help="Send a test to each receiver, and nothing else.")
def command(as_json: bool, deliver: bool, test_notice: bool) -> None:
    """Show what is wrong with collections, runs and nights, and who waits for notices of it.

    It needs no daemon: a timer of the system that calls it with --deliver tells of a daemon that is
    gone, too. The exit code is 1 if something is wrong, or a receiver cannot be reached.

    Example: tessera status
    """
    settings = NoticeSettings.from_environment()
    if test_notice:
        sys.exit(_test(settings))
    home = prepare_home()
    looks = SourceLooks(_LOOK_SECONDS, _LOOK_SECONDS / 2)
    with open_instance() as instance:
        if deliver:
            _check_somebody_is_told(settings)
            try:
                go_round(instance, home, settings, looks, _LOCK_SECONDS)
            except Timeout as error:
                raise UserError("Another process is delivering notices: try again.") from error
            # It has stored what it has just found.
            state = StateFile(home).read()
        else:
            state = state_now(instance, home, settings, looks)
        found = _found(instance, home, settings, state)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    sys.exit(1 if found["causes"] or any(one["why"] for one in found["receivers"]) else 0)


def _test(settings: NoticeSettings) -> int:
    """Send a test to each receiver; return the exit code."""
    _check_somebody_is_told(settings)
    exit_code = 0
    for receiver in receivers_of(settings):
        try:
            receiver.send(notice_for_test(time.time()), settings.timeout_seconds)
        except NotDeliveredError as error:
            exit_code = 1
            click.echo(f"{receiver.name}: not delivered, {error}")
        else:
            click.echo(f"{receiver.name}: delivered")
    return exit_code


def _check_somebody_is_told(settings: NoticeSettings) -> None:
    if not receivers_of(settings):
        raise UserError(
            f"Nobody is set to be told: set {PREFIX}WEBHOOK, {PREFIX}SLACK or {PREFIX}MAIL_TO."
        )


def _found(
    instance: dg.DagsterInstance, home: Path, settings: NoticeSettings, state: NoticeState
) -> dict[str, Any]:
    """Return everything that is shown, as JSON has it."""
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    newest = max(beats, default=None)
    return {
        "causes": [_cause(one) for one in state.open.values()],
        "collections": [asdict(row) for row in health_of_collections(instance, home, state)],
        "receivers": _receivers(state, settings),
        "schedules": sorted({one.instigator_name for one in schedules_that_are_on(instance)}),
        "daemon": {
            "runs": newest is not None and time.time() - newest < HEARTBEAT_SECONDS,
            "seen_at": None if newest is None else for_programs(newest),
        },
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "kind": str(cause.kind),
        "collection": cause.collection,
        "subject": cause.subject,
        "since": for_programs(cause.since),
        "what": cause.what,
        "run_id": cause.run_id,
    }


def _receivers(state: NoticeState, settings: NoticeSettings) -> list[dict[str, Any]]:
    names = sorted({*state.queues, *(one.name for one in receivers_of(settings))})
    rows = []
    for name in names:
        queue = state.queues.get(name, Queue())
        # The next round will have these for it; nothing of it is stored here.
        put_into(queue, state.open, time.time(), page_of)
        rows.append(
            {
                "name": name,
                "waiting": len(queue.waiting),
                "attempts_failed": queue.n_failed,
                "next_try": for_programs(queue.next_try) if queue.why else None,
                "why": queue.why,
            }
        )
    return rows


def _print(found: dict[str, Any]) -> None:
    if not found["collections"]:
        click.echo("There are no collections.")
    _print_table(_COLUMNS, found["collections"])
    _print_table(
        {"wrong": "kind", "collection": "collection", "since": "since", "what": "what"},
        [{**one, "kind": one["kind"].replace("_", " ")} for one in found["causes"]],
    )
    n = len(found["causes"])
    click.echo(f"{n:,} {'thing is' if n == 1 else 'things are'} wrong." if n else "All is well.")
    for one in found["receivers"]:
        told = "has been told of everything"
        if one["waiting"]:
            n_waiting = one["waiting"]
            told = "1 notice waits" if n_waiting == 1 else f"{n_waiting:,} notices wait"
        if one["why"]:
            told += f": {one['why']}; tried again at {one['next_try']}"
        click.echo(f"{one['name']}: {told}.")
    if not found["receivers"]:
        click.echo("Nobody is told: no receiver is set.")
    on = ", ".join(found["schedules"]) or "no schedule of the night"
    daemon = found["daemon"]
    seen = f"was last seen at {daemon['seen_at']}" if daemon["seen_at"] else "was never seen"
    click.echo(f"Switched on: {on}. Dagster's daemon {'runs' if daemon['runs'] else seen}.")


def _print_table(columns: Mapping[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Print these columns of rows, by heading, aligned, and an empty line; nothing of no rows."""
    cells = {heading: [_text(row[name]) for row in rows] for heading, name in columns.items()}
    # A column in which nothing stands says nothing.
    padded = [
        [cell.ljust(max(map(len, (heading, *column)))) for cell in (heading, *column)]
        for heading, column in cells.items()
        if any(column)
    ]
    for line in zip(*padded, strict=True):
        click.echo("  ".join(line).rstrip())
    if rows:
        click.echo()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else shown(str(value))
