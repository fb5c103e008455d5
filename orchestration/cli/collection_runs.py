"""Runs of a collection from the command line, with bars in the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import Timeout
from rich.console import Console

from assets.io_managers import FolderIOManager
from assets.methods.common.devices import choose_device
from assets.methods.common.errors import UserError
from assets.methods.models.classifier import check_class
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.home import home_folder
from assets.resources.models import Models
from orchestration.cli.terminal_progress import TerminalProgress
from orchestration.definitions import build_definitions, build_resources
from orchestration.instance import collection_lock, forget, open_instance, register
from orchestration.runs import FinishedRun, carry_out

Options = dict[str, Any]
STANDARD_ERROR = 2


def run_collection(
    job: str, collection: Collection, options: Options, debug: bool
) -> tuple[FolderIOManager, FinishedRun]:
    """Register a collection and run ``job`` for it.

    Returns where the assets' values can be read, and what the run left behind. Raises what
    ``carry_out`` raises.
    """
    compute = compute_resource(options)
    # Dagster captures the standard error of the process, so the bars get one of their own.
    with (
        os.fdopen(os.dup(STANDARD_ERROR), "w") as terminal,
        _alone(collection.name),
        open_instance() as instance,
    ):
        progress = TerminalProgress(Console(file=terminal))
        resources = build_resources(progress, compute, bool(options.get("strict_tracking")))
        with _registered(instance, collection), progress.bars:
            run = carry_out(
                build_definitions(resources),
                resources["tracking"],
                instance,
                job,
                collection,
                debug,
            )
        return resources["io_manager"], run


def compute_resource(options: Options) -> Compute:
    """Return what the options say of the device; raises UserError when it is not there."""
    compute = Compute(**given(options, "device", "batch_size", "threads"))
    if compute.device != "auto":
        choose_device(compute.device)
    return compute


def check_classifier(model: str, class_name: str, options: Options) -> None:
    """Refuse a classifier or a class that is not there, before hours of decoding."""
    compute = compute_resource(options)
    models: Models = build_resources(compute=compute)["models"]
    # The run itself tells of a registry that is down.
    classifier = models.load(model, compute.settings(), lambda warning: None)
    check_class(classifier.class_names, class_name)


def given(options: Options, *names: str, **renamed: str) -> dict[str, Any]:
    """Return the options that were given, some under the name that the setting has."""
    options_of = {name: name for name in names} | renamed
    return {
        setting: options[option]
        for setting, option in options_of.items()
        if options.get(option) is not None
    }


def given_file(options: Options, name: str) -> dict[str, Any]:
    """Return the option if it was given; a file by its whole path: the UI's runs work elsewhere."""
    return {key: whole_path(value) for key, value in given(options, name).items()}


def whole_path(value: str) -> str:
    """Return the absolute path of a file; what names no file stays as it is."""
    return str(Path(value).absolute()) if Path(value).is_file() else value


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep a second command line from mapping the same collection at the same time."""
    try:
        # Somebody may be looking whether the lock is free, for a moment.
        with collection_lock(name, timeout=1):
            yield
    except Timeout as error:
        raise UserError(f"Another tessera is at work on {name}: wait for it to end.") from error


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
