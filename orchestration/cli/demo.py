"""`tessera demo`: maps photos that come with the dependencies."""

from pathlib import Path

import click

from assets.resources.collections import DEMO_SOURCE
from orchestration.cli.common.options import Options, pass_options
from orchestration.cli.map import map_collection, map_options


@click.command("demo")
@map_options
@pass_options
def command(options: Options, out: Path | None) -> None:
    """Map 1,024 tiles of the photographs that come with scikit-image and scikit-learn.

    Example: tessera demo --out demo
    """
    map_collection("demo", DEMO_SOURCE, out, options)
