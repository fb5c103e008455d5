"""Runs of a collection from the command line, with bars in the terminal."""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg
from filelock import Timeout
from rich.console import Console

from assets.generations import UNPARTITIONED
from assets.io_managers import FolderIOManager
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown, without_secrets
from assets.methods.models.classifier import check_class
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.rejects import Reason
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.home import home_folder
from assets.resources.models import Models
from orchestration.cli.common.options import Options
from orchestration.cli.common.terminal_progress import TerminalProgress
from orchestration.definitions import build_definitions, build_resources
from orchestration.housekeeping.unchanged_runs import shorten_record
from orchestration.instance import collection_lock, forget, open_instance, register
from orchestration.jobs import ASSETS_OF, MODERATION
from orchestration.runs import FinishedRun, at_work, carry_out, evaluate_stored

STANDARD_ERROR = 2
# Assets that come from nsfw_model, so that its check is one of theirs.
_OF_MODEL = {*MODERATION, *ASSETS_OF["training"], *ASSETS_OF["evaluation"]} - {"raw_images"}


def run_collection(
    job: str, collection: Collection, options: Options
) -> tuple[FolderIOManager, FinishedRun]:
    """Register a collection and run ``job`` for it.

    Returns where the assets' values can be read, and what the run left behind. Raises what
    ``carry_out`` raises.
    """
    compute = options.compute()
    # Dagster captures the standard error of the process, so the bars get one of their own.
    with (
        os.fdopen(os.dup(STANDARD_ERROR), "w") as terminal,
        exclusive_lock(collection.name),
        open_instance() as instance,
    ):
        progress = TerminalProgress(Console(file=terminal))
        resources = build_resources(progress, compute, options.strict_tracking)
        with _registered(instance, collection), progress.bars:
            run = carry_out(
                build_definitions(resources),
                resources["tracking"],
                instance,
                job,
                collection,
                options.debug,
            )
        shorten_record(home_folder(), instance, resources["tracking"], run.run_id)
        if run.not_tracked is not None:
            click.echo(shown(f"MLflow has not all of this run: {run.not_tracked}"), err=True)
        return resources["io_manager"], run


def evaluate_collection(name: str, options: Options) -> FinishedRun:
    """Evaluate every check whose asset is stored of a collection; nothing is computed.

    Raises UserError when nothing is stored of it, and what ``evaluate_stored`` raises.
    """
    with exclusive_lock(name), open_instance() as instance:
        resources = build_resources(compute=options.compute())
        files: FolderIOManager = resources["io_manager"]
        definitions = build_definitions(resources)
        specs = [spec for check in definitions.asset_checks or [] for spec in check.check_specs]
        of_collection = {
            spec.key
            for spec in specs
            if spec.partitions_def is not None
            and files.checked(spec.asset_key.path[-1], name) is not None
        }
        if not of_collection:
            raise UserError(
                f"Nothing is stored of {name}, so there is nothing to check: map it with `tessera "
                f"map`, or let `tessera check {name} --run` map and score it first."
            )
        uses_model = any(key.asset_key.path[-1] in _OF_MODEL for key in of_collection)
        of_model = {
            spec.key
            for spec in specs
            if spec.partitions_def is None
            and uses_model
            and files.checked(spec.asset_key.path[-1], UNPARTITIONED) is not None
        }
        return evaluate_stored(
            definitions,
            resources["tracking"],
            instance,
            name,
            of_collection | of_model,
            options.debug,
        )


def name_for(source: str) -> str:
    """Return a collection's name made from its source; one source always has the same name."""
    return f"{_slug(source, 40)}-{_short_digest(source)}"


def name_for_files(uris: Sequence[str]) -> str:
    """Return a collection's name made from the files in it, which are the same in any order."""
    first, *others = sorted(set(uris))
    if not others:
        return name_for(first)
    return (
        f"{_slug(first, 24)}-and-{len(others)}-more-{_short_digest(chr(10).join([first, *others]))}"
    )


def check_classifier(model: str, class_name: str, options: Options) -> None:
    """Refuse a classifier or a class that is not there, before hours of decoding."""
    check_class(class_names_of(model, options), class_name)


def class_names_of(model: str, options: Options) -> tuple[str, ...]:
    """Return the classes of a classifier; raises UserError when it is not there."""
    compute = options.compute()
    models: Models = build_resources(compute=compute)["models"]
    # The run itself warns of a registry that is down.
    return models.load(model, compute.settings(), lambda warning: None).classifier.class_names


def report_unused(catalogue: Catalogue) -> None:
    """Say how many files accompany photos, and how many links were not followed."""
    n_companions = len(catalogue.companions)
    n_links = int((catalogue.rejects.reason == Reason.NOT_FOLLOWED).sum())
    if n_companions:
        accompany = "file accompanies" if n_companions == 1 else "files accompany"
        click.echo(
            f"{n_companions:,} more {accompany} photos, such as data, videos, or raw files beside "
            "their JPEG"
        )
    if n_links:
        links = "link out of the folder was" if n_links == 1 else "links out of the folder were"
        click.echo(
            f"{n_links:,} {links} not followed and counted as rejected; --follow-links follows them"
        )


def exit_unless_shown(outputs: FolderIOManager, run: FinishedRun, asset: str, name: str) -> None:
    """Exit with 1 if a check has kept what a run made of ``asset`` from being shown.

    It is shown if all is well, and if it is the first one. Otherwise the last good one stays.
    """
    if not run.failed_checks or outputs.read_run(asset, name) == run.run_id:
        return
    _report_failed(run)
    if outputs.waiting_run(asset, name) == run.run_id:
        click.echo(
            f"tessera: the last good result of {name} stays, and the new one waits: "
            f"`tessera accept {name}` makes it current.",
            err=True,
        )
    else:
        click.echo(f"tessera: the run ended before it had made {asset}.", err=True)
    sys.exit(1)


def exit_for_checks(run: FinishedRun, name: str) -> None:
    """Exit with 1 if an asset check failed at ERROR, and say which."""
    if not run.failed_checks:
        return
    _report_failed(run)
    click.echo(
        f"tessera: this first result of {name} is shown, but not accepted: "
        f"`tessera accept {name}` accepts it.",
        err=True,
    )
    sys.exit(1)


def _report_failed(run: FinishedRun) -> None:
    for failed in run.failed_checks:
        failure = f"tessera: check {failed.check_name} failed: {failed.description}"
        click.echo(shown(failure), err=True)


@contextmanager
def exclusive_lock(name: str) -> Iterator[None]:
    """Keep a second command line from working on the same collection at the same time."""
    try:
        # Another process may hold it for a moment, to see whether it is free.
        with collection_lock(name, timeout=1):
            yield
    except Timeout as error:
        raise UserError(at_work(name)) from error


def _slug(source: str, longest: int) -> str:
    last = Path(without_secrets(source).rstrip("/")).stem
    return re.sub(r"[^A-Za-z0-9]+", "-", last).strip("-")[:longest] or "photos"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]


@contextmanager
def _registered(instance: dg.DagsterInstance, collection: Collection) -> Iterator[None]:
    """Register a collection for its run; what cannot be mapped leaves things as they were."""
    registry = CollectionRegistry(home_folder())
    before = registry.find(collection.name)
    register(instance, collection)
    try:
        yield
    except UserError:
        if before is None:
            forget(instance, collection.name)
        else:
            registry.add(before)
        raise
