"""From the options of the command line to a map on disk and a summary in the terminal."""

import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from assets.methods.sources import list_source
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.home import home_folder
from assets.resources.photos import DEMO_SOURCE
from assets.settings import check_settings
from orchestration.definitions import build_definitions, build_resources
from orchestration.instance import open_instance, register
from orchestration.progress import TerminalProgress
from orchestration.results import PhotoMap, check_output_folder, make_report, write_results
from orchestration.runs import FinishedRun, carry_out

Options = dict[str, Any]


def map_collection(collection: Collection, out: Path, options: Options, debug: bool) -> FinishedRun:
    """Map a collection, write the results into ``out``, and say what came of it.

    Raises UserError for a source, a setting or a folder that cannot be used.
    """
    begun = time.monotonic()
    check_output_folder(out, collection.source)
    photo_map, run = run_photo_map(collection, options, debug)
    report = make_report(collection, photo_map, run)
    paths = write_results(out, photo_map, report)
    _summarise(report, paths, time.monotonic() - begun)
    return run


def run_photo_map(
    collection: Collection, options: Options, debug: bool
) -> tuple[PhotoMap, FinishedRun]:
    """Register a collection and materialise its photo map, with bars in the terminal."""
    settings = asset_settings(options)
    check_settings(settings)
    _check_source(collection)
    progress = TerminalProgress(Console(stderr=True))
    resources = build_resources(
        progress,
        Compute(**_given(options, "device", "batch_size", "threads")),
        bool(options.get("strict_tracking")),
    )
    with open_instance() as instance:
        register(instance, collection)
        with progress.bars:
            run = carry_out(
                build_definitions(resources),
                resources["tracking"],
                instance,
                "photo_map",
                collection.name,
                settings,
                debug,
            )
    return PhotoMap.read(resources["io_manager"], collection.name), run


def asset_settings(options: Options) -> dict[str, dict[str, Any]]:
    """Return the settings of each asset that the command line gave; the rest keep their default."""
    grid = _given(options, "certify", "show_duplicates", "seed", shape="grid")
    if options.get("no_refine"):
        grid["refine"] = False
    return {
        "raw_images": _given(options, "allow_private_addresses"),
        "embeddings": _given(options, "backbone"),
        "tsne_2d": _given(options, "perplexity", "seed", method="projection"),
        "grid_assignment": grid,
        "mosaic": _given(options, "tile", "gap", "background", "fit", "format"),
    }


def _given(options: Options, *names: str, **renamed: str) -> dict[str, Any]:
    """Return the options that were given, some under the name that the setting has."""
    options_of = {name: name for name in names} | renamed
    return {
        setting: options[option]
        for setting, option in options_of.items()
        if options.get(option) is not None
    }


def _check_source(collection: Collection) -> None:
    """Refuse a source that cannot be listed before it is remembered under a name."""
    known = CollectionRegistry(home_folder()).all()
    if collection.source != DEMO_SOURCE and collection not in known:
        list_source(collection.source)


def _summarise(report: dict[str, Any], paths: dict[str, Path], seconds: float) -> None:
    counts, grid, assignment = report["counts"], report["grid"], report["assignment"]
    click.echo(
        f"{counts['shown']:,} photos on {grid['columns']} x {grid['rows']} cells in "
        f"{seconds:.0f} s: {counts['decoded_anew']:,} decoded and {counts['embedded_anew']:,} "
        f"embedded anew, {counts['rejected']:,} files rejected"
    )
    click.echo(f"Assignment by {assignment['solver']}: {_proof(assignment)}")
    quality = report["quality"]
    if quality["dpq16"] is not None:
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


def _proof(assignment: dict[str, Any]) -> str:
    if assignment["certified"]:
        return "certified optimal"
    if assignment["gap"] is None:
        return "near-optimal, without a bound (--certify computes one)"
    return f"at most {assignment['gap']:.1e} above the optimum"
