"""`tessera map`: from a folder, a URL or a manifest to a map on disk and a summary."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from assets import DISTRIBUTION
from assets.config import (
    EmbeddingsConfig,
    GridConfig,
    MosaicConfig,
    RawImagesConfig,
    TsneConfig,
    check_settings,
)
from assets.io_managers import FolderIOManager
from assets.methods.common.checksums import DamagedFileError
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import printable, without_secrets
from assets.methods.common.tables import csv_bytes, parquet_bytes
from assets.methods.layout.assignment.dense_assignment import SUMMED
from assets.methods.layout.network_store import KeptNetwork
from assets.methods.page.folder import copy_page, remove_page
from assets.methods.page.page import INDEX
from assets.methods.photos.catalogue import Catalogue, noted_photos
from assets.methods.photos.labels import is_identifier
from assets.methods.photos.near_duplicates import duplicates_table
from assets.resources.collections import Collection, collection_for
from assets.resources.home import home_folder
from assets.resources.photos import Photos
from assets.results.photo_map import catalogue_metrics
from assets.results.staying_map import changes_sentence
from assets.values import NETWORK_COLUMN, Embeddings, GridAssignment, Mosaic
from orchestration.cli.common.collection_runs import (
    exit_for_checks,
    exit_unless_shown,
    name_for,
    report_unused,
    run_collection,
)
from orchestration.cli.common.options import (
    Options,
    all_of,
    check_output_folder,
    follow_links_option,
    name_option,
    out_option,
    pass_options,
    path_or_name,
    path_or_url,
    run_options,
    setting,
)
from orchestration.cli.common.result_folders import write_results
from orchestration.cli.inputs.selections import check_own_name, selected_photos
from orchestration.jobs import PHOTO_MAP
from orchestration.runs import FinishedRun

IMAGES = ("mosaic", "figure")
PAGE = "page"
LAYOUT_COLUMNS = ["image_id", "uri", "x", "y", "row", "col"]
DUPLICATE_METRICS = ("exact_duplicates", "near_duplicates", "label_conflicts")
# The libraries that a layout's bytes depend on.
VERSIONED = [
    "dagster", "lapjv", "mlflow", "numpy", "openTSNE", "pillow", "pot", "pytorch-metric-learning",
    "scikit-learn", "scipy", "shufflesnap", "timm", "torch", "torchdr",
]  # fmt: skip


map_options = all_of(
    out_option("Folder for the results.", required=False, show_default="map-NAME"),
    setting("--backbone", EmbeddingsConfig, type=path_or_name, metavar="NETWORK"),
    setting("--projection", TsneConfig, field="method"),
    setting("--perplexity", TsneConfig),
    setting("--retrain-above", TsneConfig),
    setting("--grid", GridConfig, field="shape"),
    setting("--solver", GridConfig),
    setting("--cost", GridConfig),
    setting("--certify", GridConfig),
    setting("--refine/--no-refine", GridConfig),
    setting("--show-duplicates", GridConfig),
    setting("--stay/--no-stay", TsneConfig, GridConfig),
    setting("--fresh", TsneConfig, GridConfig),
    setting("--from-map", TsneConfig, GridConfig, type=click.IntRange(1), metavar="NUMBER"),
    setting("--max-move", GridConfig, type=click.IntRange(0)),
    setting("--most-change", TsneConfig, GridConfig, type=click.FloatRange(0, 1)),
    setting("--tile", MosaicConfig),
    setting("--gap", MosaicConfig),
    setting("--background", MosaicConfig),
    setting("--fit", MosaicConfig),
    setting("--format", MosaicConfig),
    setting("--page/--no-page", MosaicConfig),
    setting("--blur-above", MosaicConfig),
    setting("--clear-photos/--no-clear-photos", MosaicConfig),
    setting("--landmarks/--no-landmarks", MosaicConfig),
    setting("--seed", TsneConfig, GridConfig),
    run_options,
)


@click.command("map")
@click.argument("source", type=path_or_url, required=False)
@name_option
@follow_links_option
@setting("--only", RawImagesConfig, type=path_or_name, metavar="SELECTION")
@map_options
@pass_options
def command(
    options: Options,
    source: str | None,
    name: str | None,
    follow_links: bool | None,
    out: Path | None,
) -> None:
    """Map the photos of SOURCE: a folder, a URL such as s3://bucket/photos, or a manifest.

    A manifest is a CSV or Parquet file. Its column `uri` has paths or URLs of photos, and its
    column `label`, if there is one, their labels.

    With --only, the photos of a selection are mapped by themselves, as a collection of their own.
    SOURCE may be left out then: it is that of the collection that has these photos, with its
    settings.

    Example: tessera map photos --grid 16:9
    """
    only = options.config(RawImagesConfig).only
    if only is not None:
        chosen = selected_photos(only, source)
        name = name or chosen.name
        check_own_name(name)
        if follow_links is None and chosen.parent is not None:
            follow_links = chosen.parent.follow_links
        map_collection(
            name, chosen.source, out, chosen.options(options), follow_links, chosen.in_words
        )
    elif source is None:
        raise click.MissingParameter(param_hint="'SOURCE'", param_type="argument")
    else:
        map_collection(name or name_for(source), source, out, options, follow_links)


def map_collection(
    name: str,
    source: str,
    out: Path | None,
    options: Options,
    follow_links: bool | None = None,
    in_words: Callable[[Catalogue, str], list[str]] | None = None,
) -> None:
    """Map a source, write the results into ``out`` (map-NAME if None), and sum them up.

    ``follow_links`` is as for `collection_for`; ``in_words`` returns further sentences, by the
    catalogue and the name. Raises UserError for a source, a setting or a folder that cannot be
    used.
    """
    begun = time.monotonic()
    out = out or Path(f"map-{name}")
    collection = collection_for(name, source, follow_links)
    collection = collection.with_settings(options.settings, PHOTO_MAP)
    check_settings(collection.settings)
    check_output_folder(out, source)
    outputs, run = run_collection("photo_map", collection, options)
    exit_unless_shown(outputs, run, "mosaic", name)
    write_map(outputs, run, collection, out, begun)
    if in_words is not None:
        for sentence in in_words(outputs.read(Catalogue, "raw_images", name), name):
            click.echo(printable(sentence))
    exit_for_checks(run, name)


def write_map(
    outputs: FolderIOManager, run: FinishedRun, collection: Collection, out: Path, begun: float
) -> None:
    """Write the results of a run into ``out``, and sum them up.

    ``begun`` is the monotonic time at which the work began.
    """
    name = collection.name
    grid = outputs.read(GridAssignment, "grid_assignment", name)
    results = _Results(
        outputs.read(Catalogue, "raw_images", name),
        outputs.read(Embeddings, "embeddings", name),
        grid,
        outputs.read(Mosaic, "mosaic", name),
        _network_of(grid, name),
    )
    report = _make_report(collection, results, run, outputs.is_current("mosaic", name))
    paths = _write_results(out, results, report)
    page = _write_page(out / PAGE, collection, results.mosaic)
    if page is not None:
        paths[PAGE] = page
    _summarise(report, results.catalogue, paths, time.monotonic() - begun)


@dataclass(frozen=True)
class _Results:
    """The values of the assets."""

    catalogue: Catalogue
    embeddings: Embeddings
    grid: GridAssignment
    mosaic: Mosaic
    network: KeptNetwork | None


def _write_results(out: Path, results: _Results, report: dict[str, Any]) -> dict[str, Path]:
    images = (results.mosaic.mosaic, results.mosaic.figure)
    files = {
        **{f"{name}{one.suffix}": one.data for name, one in zip(IMAGES, images, strict=True)},
        "layout.parquet": parquet_bytes(results.grid.table[LAYOUT_COLUMNS]),
        "rejects.csv": csv_bytes(results.catalogue.rejects),
        "companions.csv": csv_bytes(results.catalogue.companions),
        "duplicates.csv": csv_bytes(duplicates_table(results.catalogue.images)),
    }
    for name, image in results.mosaic.more.items():
        files[f"{name}{image.suffix}"] = image.data
    if results.mosaic.more:
        files["changes.csv"] = csv_bytes(results.grid.changes)
    noted = noted_photos(results.catalogue)
    if len(noted):
        files["notes.csv"] = csv_bytes(noted)
    paths = write_results(out, files, report)
    return {path.stem: path for path in paths.values()}


def _write_page(folder: Path, collection: Collection, mosaic: Mosaic) -> Path | None:
    """Bring the copy of the page up to date, and return what a browser opens; None without one."""
    if mosaic.page is None:
        remove_page(folder)
        return None
    try:
        copy_page(Photos(home=str(home_folder())).page_folder(collection.name), folder)
    except DamagedFileError as error:
        raise UserError(f"{error}: map the collection again, which makes it again.") from error
    return folder / INDEX


def _make_report(
    collection: Collection, results: _Results, run: FinishedRun, is_accepted: bool
) -> dict[str, Any]:
    """Return what report.json holds: counts, seconds, the grid's metrics, checks and versions."""
    catalogue = results.catalogue
    metrics = catalogue_metrics(catalogue)
    return {
        "collection": collection.name,
        "source": without_secrets(collection.source),
        "dagster_run": run.run_id,
        "not_tracked": run.not_tracked,
        "counts": {
            "found": catalogue.n_found,
            "photos": len(catalogue.images),
            "rejected": len(catalogue.rejects),
            "companions": len(catalogue.companions),
            "noted": len(noted_photos(catalogue)),
            **{name: metrics[name] for name in DUPLICATE_METRICS},
            "shown": len(results.grid.table),
            "decoded_anew": catalogue.n_decoded,
            "embedded_anew": results.embeddings.n_computed,
        },
        "seconds": run.seconds,
        "map_number": results.mosaic.number,
        "grid": {"columns": results.grid.columns, "rows": results.grid.rows},
        **results.grid.metrics,
        "network": _described(results.network),
        "mosaic": {
            **results.mosaic.settings,
            "shrunk": results.mosaic.shrunk,
            "enlarged": results.mosaic.enlarged,
            "all_blurred": results.mosaic.all_blurred,
        },
        "page": results.mosaic.page,
        "notes": _notes(metrics, results.grid),
        "accepted": is_accepted,
        "checks": {check.check_name: check.passed for check in run.checks},
        "versions": {
            "tessera": version(DISTRIBUTION),
            **{name: version(name) for name in VERSIONED},
        },
    }


def _summarise(
    report: dict[str, Any], catalogue: Catalogue, paths: dict[str, Path], seconds: float
) -> None:
    counts, grid, assignment = report["counts"], report["grid"], report["assignment"]
    click.echo(
        f"{counts['shown']:,} photos on {grid['columns']} x {grid['rows']} cells in "
        f"{seconds:.0f} s: {counts['decoded_anew']:,} decoded and {counts['embedded_anew']:,} "
        f"embedded anew, {counts['rejected']:,} files rejected"
    )
    report_unused(catalogue)
    for note in report["notes"]:
        click.echo(printable(note))
    if report["network"]:
        click.echo(_quality_of_network(report["network"]))
    if report["map_number"] is not None:
        click.echo(
            f"Map {report['map_number']} of the collection. {changes_sentence(report['stay'])}"
        )
    summed = SUMMED[assignment["cost_kind"]]
    click.echo(
        f"Assignment to the {assignment['to']} by {assignment['solver']}, {summed}: "
        f"{_proof(assignment)}"
    )
    refinement, quality = report["refinement"], report["quality"]
    if refinement and refinement["swaps"] and quality["dpq16"] is not None:
        before = refinement["dpq16_before"]
        since = "DPQ16" if before is None else f"DPQ16 from {before:.3f} to"
        click.echo(f"Then refined by {refinement['swaps']:,} swaps: {since} {quality['dpq16']:.3f}")
    elif quality["dpq16"] is not None:
        click.echo(f"Layout quality: DPQ16 {quality['dpq16']:.3f}")
    if quality["neighbourhood_purity"] is not None:
        click.echo(
            f"Neighbours with the same label: {quality['neighbourhood_purity']:.0%} "
            f"(at random {quality['random_purity']:.0%})"
        )
    for note in ("shrunk", "enlarged", "all_blurred"):
        if report["mosaic"][note]:
            click.echo(report["mosaic"][note])
    if counts["noted"]:
        click.echo(f"Something had to be guessed to decode {counts['noted']:,} photos: notes.csv.")
    for what, path in paths.items():
        click.echo(printable(f"  {what:<12}{path}"))
    click.echo(printable(f"State and caches are in {home_folder()} (TESSERA_HOME)."))


def _network_of(grid: GridAssignment, name: str) -> KeptNetwork | None:
    """Return the network that has placed the photos; None if none has."""
    if NETWORK_COLUMN not in grid.table:
        return None
    networks = Photos(home=str(home_folder())).networks(name)
    return networks.with_fingerprint(str(grid.table[NETWORK_COLUMN].iloc[0]))


def _described(network: KeptNetwork | None) -> dict[str, Any] | None:
    if network is None:
        return None
    return {
        "method": network.method,
        "fingerprint": network.fingerprint,
        "fitted": network.n_fitted,
        "held_out": network.n_held_out,
        **network.quality,
    }


def _quality_of_network(network: dict[str, Any]) -> str:
    """Return a sentence on how well a network keeps neighbours, beside t-SNE."""
    told = (
        f"Placed by the {network['method']} network of {network['fitted']:,} photos: "
        f"trustworthiness {network['trustworthiness_fitted']:.3f} (t-SNE "
        f"{network['tsne_trustworthiness_fitted']:.3f})"
    )
    if network["trustworthiness_held_out"] is None:
        return told
    return (
        f"{told}, and {network['trustworthiness_held_out']:.3f} of photos that it had not seen "
        f"({network['tsne_trustworthiness_held_out']:.3f})"
    )


def _notes(metrics: dict[str, Any], grid: GridAssignment) -> list[str]:
    """Return sentences on copies, by the catalogue's metrics, and on labels that are not used."""
    exact, near, conflicts = (metrics[name] for name in DUPLICATE_METRICS)
    notes = []
    if exact + near:
        differ = f", {conflicts:,} with another label than the photo shown" * (conflicts > 0)
        notes.append(
            f"Duplicates: {exact:,} exact copies and {near:,} near copies{differ}; duplicates.csv "
            "names them."
        )
    if is_identifier(grid.table.label):
        notes.append("Labels are not used: there are about as many of them as photos.")
    return notes


def _proof(assignment: dict[str, Any]) -> str:
    if assignment["certified"]:
        return "certified optimal"
    if assignment["gap"] is None:
        return "near-optimal, without a bound (--certify computes one)"
    return f"at most {assignment['gap']:.1e} above the optimum"
