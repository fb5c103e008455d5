"""`tessera doctor`: what is wrong with the home, and its repair."""

import sys
from collections.abc import Iterable

import click

from assets.methods.common.shown_text import shown
from orchestration.definitions import build_resources
from orchestration.doctor import Finding, damaged_databases, findings
from orchestration.instance import open_instance, prepare_home
from orchestration.surroundings import Verdict, verdicts


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
def command(repair: bool) -> None:
    """Look for what is wrong with the home, and say what to do about it.

    First comes a line for each thing around the home: versions of libraries, the device, the
    weights that come inside packages, the storage, the servers, and the room on the disk.

    With --repair, what can be mended is mended. The exit code is 1 if something is wrong that was
    not mended. No other tessera should be at work meanwhile.

    Example: tessera doctor --repair
    """
    home = prepare_home()
    n_found, n_left = _treat(damaged_databases(home), repair)
    n_wrong = 0
    if n_left == 0:
        with open_instance() as instance:
            tracking = build_resources()["tracking"]
            n_wrong = _judge(verdicts(home, instance, tracking))
            more = _treat(list(findings(home, instance, tracking)), repair)
        n_found, n_left = n_found + more[0], n_left + more[1]
    if n_found == 0:
        click.echo(f"Nothing is wrong with {home}.")
    elif n_left and not repair:
        click.echo(f"{n_left:,} found; `tessera doctor --repair` mends what can be mended.")
    sys.exit(1 if n_left or n_wrong else 0)


def _judge(found: Iterable[Verdict]) -> int:
    """Print each verdict in a line; return how many parts will not do."""
    n_wrong = 0
    for verdict in found:
        word = "fine" if verdict.is_fine else "WRONG"
        click.echo(shown(f"{verdict.part:<9} {word:<6} {verdict.what}"))
        if not verdict.is_fine:
            click.echo(shown(f"  {verdict.advice}"))
            n_wrong += 1
    return n_wrong


def _treat(found: Iterable[Finding], repair: bool) -> tuple[int, int]:
    """Report each finding, and repair it if wanted; return how many there were and are left."""
    n_found = n_left = 0
    for finding in found:
        n_found += 1
        can_be_mended = repair and finding.repair is not None
        click.echo(shown(finding.what))
        click.echo(shown(f"  {'Mended: ' if can_be_mended else ''}{finding.advice}"))
        if finding.repair is not None and repair:
            finding.repair()
        else:
            n_left += 1
    return n_found, n_left
