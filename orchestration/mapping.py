"""From the options of the command line to a map on disk and a summary in the terminal."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import dagster as dg
from filelock import FileLock, Timeout
from rich.console import Console

from assets.methods.devices import choose_device
from assets.methods.errors import UserError
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.home import home_folder
from assets.settings import check_settings
from orchestration.definitions import build_definitions, build_resources
from orchestration.instance import forget, open_instance, register
from orchestration.progress import TerminalProgress
from orchestration.results import PhotoMap, check_output_folder, make_report, write_results
from orchestration.runs import FinishedRun, carry_out

Options = dict[str, Any]
STANDARD_ERROR = 2


def map_collection(name: str, source: str, out: Path, options: Options, debug: bool) -> FinishedRun:
    """Map a source, write the results into ``out``, and say what came of it.

    Raises UserError for a source, a setting or a folder that cannot be used.
    """
    begun = time.monotonic()
    collection = Collection(name, source, asset_settings(options))
    check_settings(collection.settings)
    check_output_folder(out, source)
    photo_map, run = run_photo_map(collection, options, debug)
    report = make_report(collection, photo_map, run)
    paths = write_results(out, photo_map, report)
    _summarise(report, paths, time.monotonic() - begun)
    return run


def run_photo_map(
    collection: Collection, options: Options, debug: bool
) -> tuple[PhotoMap, FinishedRun]:
    """Register a collection and materialise its photo map, with bars in the terminal."""
    compute = Compute(**_given(options, "device", "batch_size", "threads"))
    if compute.device != "auto":
        choose_device(compute.device)
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
                "photo_map",
                collection,
                debug,
            )
        return PhotoMap.read(resources["io_manager"], collection.name), run


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep a second command line from mapping the same collection at the same time."""
    lock = home_folder() / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise UserError(
            f"{name} is being mapped by another tessera: wait for it to end."
        ) from error


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


def asset_settings(options: Options) -> dict[str, dict[str, Any]]:
    """Return the settings of each asset that the command line gave; the rest keep their default."""
    grid = _given(options, "certify", "show_duplicates", "seed", shape="grid")
    if options.get("no_refine"):
        grid["refine"] = False
    embeddings = _given(options, "backbone")
    if Path(embeddings.get("backbone", "")).is_file():
        # Runs of the UI work in another folder.
        embeddings["backbone"] = str(Path(embeddings["backbone"]).absolute())
    settings = {
        "raw_images": _given(options, "allow_private_addresses"),
        "embeddings": embeddings,
        "tsne_2d": _given(options, "perplexity", "seed", method="projection"),
        "grid_assignment": grid,
        "mosaic": _given(options, "tile", "gap", "background", "fit", "format"),
    }
    return {asset: values for asset, values in settings.items() if values}


def _given(options: Options, *names: str, **renamed: str) -> dict[str, Any]:
    """Return the options that were given, some under the name that the setting has."""
    options_of = {name: name for name in names} | renamed
    return {
        setting: options[option]
        for setting, option in options_of.items()
        if options.get(option) is not None
    }


def _summarise(report: dict[str, Any], paths: dict[str, Path], seconds: float) -> None:
    counts, grid, assignment = report["counts"], report["grid"], report["assignment"]
    click.echo(
        f"{counts['shown']:,} photos on {grid['columns']} x {grid['rows']} cells in "
        f"{seconds:.0f} s: {counts['decoded_anew']:,} decoded and {counts['embedded_anew']:,} "
        f"embedded anew, {counts['rejected']:,} files rejected"
    )
    click.echo(f"Assignment by {assignment['solver']}: {_proof(assignment)}")
    refinement, quality = report["refinement"], report["quality"]
    if refinement and refinement["swaps"] and quality["dpq16"] is not None:
        click.echo(
            f"Then refined by {refinement['swaps']:,} swaps: DPQ16 from "
            f"{refinement['dpq16_before']:.3f} to {quality['dpq16']:.3f}"
        )
    elif quality["dpq16"] is not None:
        click.echo(f"Layout quality: DPQ16 {quality['dpq16']:.3f}")
    if quality["neighbourhood_purity"] is not None:
        click.echo(
            f"Neighbours with the same label: {quality['neighbourhood_purity']:.0%} "
            f"(at random {quality['random_purity']:.0%})"
        )
    if report["mosaic"]["shrunk"]:
        click.echo(report["mosaic"]["shrunk"])
    for what, path in paths.items():
        click.echo(f"  {what:<8}{path}")
    click.echo(f"State and caches are in {home_folder()} (TESSERA_HOME).")


def _proof(assignment: dict[str, Any]) -> str:
    if assignment["certified"]:
        return "certified optimal"
    if assignment["gap"] is None:
        return "near-optimal, without a bound (--certify computes one)"
    return f"at most {assignment['gap']:.1e} above the optimum"
