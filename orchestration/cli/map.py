"""From the options of the command line to a map on disk and a summary in the terminal."""

import time
from pathlib import Path
from typing import Any

import click

from assets.config import check_settings
from assets.resources.collections import collection_for
from assets.resources.home import home_folder
from orchestration.cli.collection_runs import (
    Options,
    given,
    given_file,
    run_collection,
)
from orchestration.cli.map_results import PhotoMap, make_report, write_results
from orchestration.cli.outputs import check_output_folder
from orchestration.jobs import PHOTO_MAP
from orchestration.runs import FinishedRun


def map_collection(name: str, source: str, out: Path, options: Options, debug: bool) -> FinishedRun:
    """Map a source, write the results into ``out``, and say what came of it.

    Raises UserError for a source, a setting or a folder that cannot be used.
    """
    begun = time.monotonic()
    collection = collection_for(name, source).with_settings(asset_settings(options), PHOTO_MAP)
    check_settings(collection.settings)
    check_output_folder(out, source)
    outputs, run = run_collection("photo_map", collection, options, debug)
    photo_map = PhotoMap.read(outputs, name)
    report = make_report(collection, photo_map, run)
    paths = write_results(out, photo_map, report)
    _summarise(report, paths, time.monotonic() - begun)
    return run


def asset_settings(options: Options) -> dict[str, dict[str, Any]]:
    """Return the settings of each asset that the command line gave; the rest keep their default."""
    grid = given(options, "certify", "show_duplicates", "seed", shape="grid")
    if options.get("no_refine"):
        grid["refine"] = False
    settings = {
        "raw_images": given(options, "allow_private_addresses"),
        "embeddings": given_file(options, "backbone"),
        "tsne_2d": given(options, "perplexity", "seed", method="projection"),
        "grid_assignment": grid,
        "mosaic": given(options, "tile", "gap", "background", "fit", "format"),
    }
    return {asset: values for asset, values in settings.items() if values}


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
