"""`tessera accept`: makes a result current although one of its checks has failed."""

import time
from pathlib import Path

import click

from assets.generations import make_current, mark, origin_of, waiting_of
from assets.io_managers import outputs_of
from assets.methods.common.errors import UserError
from assets.resources.collections import CollectionRegistry
from assets.resources.home import home_folder
from orchestration.cli.common.collection_runs import exclusive_lock
from orchestration.cli.common.options import check_output_folder, out_option
from orchestration.cli.map import write_map
from orchestration.instance import open_instance
from orchestration.runs import finished_run


@click.command("accept")
@click.argument("name")
@out_option("Folder for the results of a map.", required=False)
def command(name: str, out: Path | None) -> None:
    """Make the newest result of the collection NAME current, although a check has failed.

    As long as it waits, the last good result is the one that is shown.

    Example: tessera accept holidays
    """
    begun = time.monotonic()
    collection = CollectionRegistry(home_folder()).get(name)
    if out is not None:
        check_output_folder(out, collection.source)
    outputs = outputs_of(home_folder())
    with exclusive_lock(name), open_instance() as instance:
        waits = waiting_of(Path(outputs.base_folder), name)
        if not waits:
            raise UserError(f"Nothing of {name} waits to be accepted.")
        runs = {}
        for folder, waiting in waits.items():
            make_current(folder, waiting.generation)
            mark(instance, folder, is_accepted=True, checks=waiting.checks)
            runs[folder.parent.name] = origin_of(folder / waiting.generation).run_id
        failed = {check for waiting in waits.values() for check in waiting.checks}
        run = finished_run(instance, runs["mosaic"]) if "mosaic" in runs else None
    click.echo(f"{name}: {', '.join(sorted(runs))} are current now.")
    click.echo(f"Failed, and accepted: {', '.join(sorted(failed))}")
    if out is not None and run is not None:
        write_map(outputs, run, collection, out, begun)
    elif out is not None:
        raise UserError(f"No map of {name} was among them, so nothing was written to {out}.")
