"""`tessera home`: prints the folder that holds all state."""

import click

from orchestration.instance import prepare_home


@click.command("home")
def command() -> None:
    """Print the folder that holds all state, which is made if it is not there.

    It is also the home of Dagster, DAGSTER_HOME.

    Example: ls $(tessera home)
    """
    click.echo(prepare_home())
