"""`tessera check`: maps and scores a collection, with every asset check."""

import click

from assets.methods.common.shown_text import shown
from assets.resources.collections import DEMO_SOURCE, Collection, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.cli.collection_runs import exit_for_checks, run_collection
from orchestration.cli.options import Options, compute_options, pass_options


@click.command("check")
@click.argument("name")
@compute_options
@pass_options
def command(options: Options, name: str) -> None:
    """Map and score the collection NAME, and run every asset check.

    The exit code is 1 if a check fails with the severity ERROR.

    Example: tessera check demo
    """
    registry = CollectionRegistry(home_folder())
    is_new_demo = name == "demo" and registry.find(name) is None
    collection = Collection(name, DEMO_SOURCE) if is_new_demo else registry.get(name)
    _, run = run_collection("everything", collection, options)
    for evaluation in run.checks:
        verdict = "passed" if evaluation.passed else f"FAILED ({evaluation.severity.value})"
        description = shown(evaluation.description or "")
        click.echo(f"{verdict:<16}{evaluation.check_name:<36}{description}")
    if not run.checks:
        raise RuntimeError("no asset check was evaluated")
    exit_for_checks(run)
