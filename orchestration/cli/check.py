"""`tessera check`: evaluates the asset checks on what is stored of collections."""

import sys
from pathlib import Path

import click

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import shown
from assets.resources.collections import DEMO_SOURCE, Collection, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.check_results import (
    SEVERITIES,
    CheckedCollection,
    CheckResult,
    as_json,
    as_junit,
)
from orchestration.cli.common.collection_runs import evaluate_collection, run_collection
from orchestration.cli.common.options import (
    Options,
    check_output_file,
    compute_options,
    pass_options,
)
from orchestration.runs import RunError

# Where results are in the terminal.
_MARKS = {"error": "FAILED", "warn": "warning"}


@click.command("check")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--run", is_flag=True, help="Map and score the collections first.")
@click.option("--junit", type=click.Path(path_type=Path), help="File for the results as JUnit XML.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for them as JSON.")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default=SEVERITIES[0],
    help="The least severity with which a failed check makes the exit code 1.",
)
@compute_options
@pass_options
def command(
    options: Options,
    names: tuple[str, ...],
    run: bool,
    junit: Path | None,
    json_file: Path | None,
    fail_on: str,
) -> None:
    """Evaluate every asset check on what is stored of each collection NAME.

    Nothing is computed anew unless --run asks for it. Of a result that waits to be accepted the
    waiting one is evaluated. The exit code is 1 if a check fails, or if nothing is stored of a
    collection.

    Example: tessera check holidays --junit checks.xml
    """
    collections = [_collection(name, run) for name in dict.fromkeys(names)]
    for flag, file in (("--junit", junit), ("--json", json_file)):
        if file is not None:
            check_output_file(file, [collection.source for collection in collections], flag)
    checked = []
    for collection in collections:
        checked.append(_check(collection, options, run))
        _report(checked[-1], len(collections) > 1)
    if junit is not None:
        write_whole(junit, as_junit(checked, fail_on))
    if json_file is not None:
        write_whole(json_file, as_json(checked, fail_on))
    if any(one.fails(fail_on) for one in checked):
        sys.exit(1)


def _collection(name: str, may_be_new: bool) -> Collection:
    registry = CollectionRegistry(home_folder())
    is_new_demo = may_be_new and name == "demo" and registry.find(name) is None
    return Collection(name, DEMO_SOURCE) if is_new_demo else registry.get(name)


def _check(collection: Collection, options: Options, is_run: bool) -> CheckedCollection:
    """Return the results of a collection. A fault of one holds up no other."""
    name = collection.name
    try:
        if is_run:
            _, run = run_collection("everything", collection, options)
        else:
            run = evaluate_collection(name, options)
    except (UserError, RunError) as error:
        return CheckedCollection(name, [], error=shown(str(error)))
    seconds = run.seconds
    results = [
        CheckResult.of(
            one, seconds.get(f"{one.asset_key.to_python_identifier()}_{one.check_name}", 0.0)
        )
        for one in run.checks
    ]
    none = None if results else "no asset check was evaluated"
    return CheckedCollection(name, results, run.run_id, none)


def _report(checked: CheckedCollection, is_one_of_several: bool) -> None:
    if is_one_of_several:
        click.echo(f"{checked.name}:")
    for result in checked.results:
        verdict = "passed" if result.passed else _MARKS[result.severity]
        click.echo(f"{verdict:<9}{result.check:<36}{result.description}")
    if checked.error is not None:
        click.echo(f"tessera: {checked.name}: {checked.error}", err=True)
    for result in checked.results:
        if result.fails(SEVERITIES[0]):
            failure = f"tessera: {checked.name}: check {result.check} failed: {result.description}"
            click.echo(failure, err=True)
