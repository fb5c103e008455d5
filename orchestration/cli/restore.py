"""`tessera restore`: makes a home of a backup."""

from pathlib import Path

import click

from assets.resources.home import home_to_restore
from orchestration.housekeeping.backup import restore


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Make the home of FILE, which `tessera backup` has written.

    The home, TESSERA_HOME, has to be empty or missing. A backup that is not whole, or has members
    that would lie outside of the home, is refused before anything is unpacked.

    Example: tessera restore tessera.tar
    """
    home = home_to_restore()
    n_members = restore(file, home)
    click.echo(f"{n_members:,} files and folders are in {home}")
