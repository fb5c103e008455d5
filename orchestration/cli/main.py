"""The command `tessera`: its commands, its errors and exit codes, and its signals.

Errors are one sentence and an exit code: 2 for what the user can mend, 1 for a failed run or check,
130 when interrupted. `--debug` shows the traceback.
"""

import atexit
import gc
import signal
import sys
from importlib import import_module

import click

from assets import DISTRIBUTION
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown

DEBUG = "--debug"
# Each is `command` in the file of its name, which is imported when somebody calls it: Dagster alone
# takes a second.
COMMANDS = {
    "accept": "Make a result current although one of its checks has failed.",
    "add": "Remember a folder, a URL or a manifest as a collection.",
    "backup": "Write the home into one file.",
    "check": "Evaluate every asset check on what is stored of collections.",
    "deconv": "Show which pixels of an image make a network name a class.",
    "demo": "Map photos that come with the installation.",
    "dev": "Serve the web pages of Dagster and MLflow on this machine.",
    "doctor": "Look for what is wrong with the home, and mend it.",
    "evaluate": "Evaluate models on labelled photos.",
    "explain": "Show which parts of an image make a classifier name a class.",
    "gc": "Remove what is beyond the last runs of each collection.",
    "home": "Print the folder that holds all state.",
    "key": "Make, list and revoke the keys of the HTTP service.",
    "list": "List the collections and their sources.",
    "map": "Map the photos of a folder, a URL or a manifest.",
    "promote": "Make a version of the NSFW model the champion.",
    "remove": "Forget a collection, with its values and its runs.",
    "restore": "Make a home of a backup.",
    "score": "Score the photos of a folder, a URL or a manifest.",
    "serve": "Serve images, models, searches and maps over HTTP.",
    "status": "Show what is wrong with collections, runs and nights.",
    "study": "Find and mend a planted flaw in the data of a network.",
    "train": "Train the NSFW model on labelled photos.",
    "view": "Open the map of a collection as a page in the browser.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, as click's documentation describes it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"orchestration.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"show_default": True})
@click.option(DEBUG, is_flag=True, help="Show tracebacks and the log of the run.")
@click.version_option(package_name=DISTRIBUTION)
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Lay photo collections out by likeness, and see what a moderation model looks at."""
    context.obj = debug


def main() -> None:
    """Run the command line and exit."""
    # --debug belongs to the whole of tessera and may stand anywhere.
    arguments = sorted(sys.argv[1:], key=lambda argument: argument != DEBUG)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Python would search all that is imported for cycles as it ends: two seconds with PyTorch.
    atexit.register(gc.freeze)
    try:
        cli.main(arguments, prog_name="tessera", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tessera: interrupted; the next run goes on from what is done.", err=True)
        sys.exit(130)
    except Exception as error:
        if DEBUG in arguments:
            raise
        _exit_for(error)


def _exit_for(error: Exception) -> None:
    if isinstance(error, UserError):
        click.echo(shown(f"tessera: {error}"), err=True)
        sys.exit(2)
    from orchestration.runs import RunError

    what = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
    line = shown(what.strip().partition("\n")[0])
    click.echo(
        f"tessera: {line} (a fault of tessera or of its surroundings: {DEBUG} shows where)",
        err=True,
    )
    sys.exit(1)
