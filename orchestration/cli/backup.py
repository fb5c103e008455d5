"""`tessera backup`: writes the home into one file."""

from pathlib import Path

import click

from assets.methods.common.errors import UserError
from assets.resources.home import home_folder
from orchestration.housekeeping.backup import back_up


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write the home into FILE, a tar archive that only you can read: it holds keys.

    Databases are copied as they are at one moment. A run that is at work is in the backup as one
    that was interrupted. FILE appears when it is whole, and replaces an older one.

    Example: tessera backup tessera.tar
    """
    home = home_folder()
    if not home.is_dir():
        raise UserError(f"There is no home {home}: set TESSERA_HOME.")
    n_members = back_up(home, file)
    size = file.stat().st_size / 2**20
    click.echo(f"{n_members:,} files and folders of {home} are in {file}, {size:,.1f} MB")
