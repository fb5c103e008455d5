"""`tessera score`: from photos to a table of scores, a folder for reviewers, and a summary."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd

from assets.config import NsfwScoresConfig, check_settings, config_of
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import printable, printable_uri, shown
from assets.methods.common.tables import table_bytes
from assets.methods.models.provenance import Provenance
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import collection_for
from assets.resources.home import home_folder
from assets.resources.photos import Photos
from assets.results.blurring import blurred_photos, is_blurring
from assets.results.review import (
    MOST_FLAGGED,
    PAGE,
    TABLE,
    THUMBNAILS,
    Review,
    choose_for_review,
    review_files,
    thumbnail_files,
)
from assets.results.scores import is_flagged, unread_note, with_sizes
from assets.values import NsfwScores
from orchestration.cli.common.collection_runs import (
    check_classifier,
    exit_for_checks,
    exit_unless_shown,
    report_unused,
    run_collection,
)
from orchestration.cli.common.options import (
    Options,
    check_output_file,
    check_output_folder,
    check_table_name,
    classifier_options,
    follow_links_option,
    frames_option,
    name_option,
    out_option,
    pass_options,
    path_or_url,
    run_options,
    setting,
)
from orchestration.cli.common.result_folders import REPORT, check_replaceable, write_results
from orchestration.cli.inputs.photo_files import named_source

SHOWN = 5
MOST_REVIEWED = 5_000
# What the report of a folder for reviewers calls the command that wrote it.
REVIEW = "score --review"
_DTYPES = {
    "uri": "string",
    "image_id": "string",
    "score": "float64",
    "flagged": "boolean",
    "frame": "Int64",
    "seconds": "float64",
    "reason": "string",
    "detail": "string",
}


@click.command("score")
@click.argument("sources", nargs=-1, required=True, type=path_or_url, metavar="SOURCE...")
@out_option("File for the table of scores, which ends in .csv, .parquet or .json.")
@name_option
@follow_links_option
@classifier_options
@setting("--threshold", NsfwScoresConfig)
@click.option(
    "--top",
    type=click.IntRange(0),
    default=SHOWN,
    metavar="N",
    help="List the N highest scores on the terminal. The table has all of them.",
)
@click.option(
    "--review",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write a folder for reviewers: a table to fill in, and a page of blurred photos.",
)
@click.option(
    "--review-highest",
    type=click.IntRange(1, MOST_REVIEWED),
    metavar="N",
    help="Put the N highest scores into the folder for reviewers, whether flagged or not.",
    show_default=f"the flagged ones, {MOST_FLAGGED} at most",
)
@frames_option
@run_options
@pass_options
def command(
    options: Options,
    sources: tuple[str, ...],
    out: Path,
    name: str | None,
    follow_links: bool | None,
    top: int,
    review: Path | None,
    review_highest: int | None,
) -> None:
    """Score each photo of SOURCE: how probable is it that it belongs to a class, such as nsfw?

    SOURCE is a folder, a URL or a manifest, as for map, or one or several photos: files, or their
    web addresses. The same call uses the scores of the last one again.

    Example: tessera score photos --out scores.csv

    Example: tessera score beach.jpg party.png --out scores.json
    """
    begun = time.monotonic()
    check_table_name(out)
    named = named_source(sources)
    check_output_file(out, named.photos or [named.source])
    _check_review(review, review_highest, named.source, out)
    name = name or named.name
    collection = collection_for(name, named.source, follow_links)
    collection = collection.with_settings(options.settings, {"nsfw_scores"})
    check_settings(collection.settings)
    config = config_of(NsfwScoresConfig, collection.settings)
    check_classifier(config.model, config.class_name, options)
    outputs, run = run_collection("scores", collection, options)
    exit_unless_shown(outputs, run, "nsfw_scores", name)
    catalogue = outputs.read(Catalogue, "raw_images", name)
    scores = outputs.read(NsfwScores, "nsfw_scores", name)
    provenance = Provenance.of_parts(scores.provenance)
    table = scores_table(catalogue, scores, config.threshold)
    write_whole(out, table_bytes(table, out.suffix, provenance.parts()))
    said = []
    if review is not None:
        photos = Photos(home=str(home_folder()))
        blurred = blurred_photos(photos, name, scores=scores)
        said = _write_review(review, choose_for_review(table, review_highest), provenance, blurred)
    _summarise(catalogue, scores, config.threshold, top, table, time.monotonic() - begun)
    click.echo(printable(f"  scores  {out}"))
    for line in said:
        click.echo(printable(line))
    exit_for_checks(run, name)


def scores_table(catalogue: Catalogue, scores: NsfwScores, threshold: float) -> pd.DataFrame:
    """Return a row a file, the highest score first: uri, image_id, score, flagged, frame, seconds,
    reason, detail, and the sizes of ``with_sizes``.

    A reject has a reason and no score, so that every file that claims to be a photo is in the
    table. Frame and seconds are those of `NsfwScores`, whose note on an animation is its detail.
    """
    scored = catalogue.images[["uri", "image_id"]].merge(scores.table, on="image_id")
    scored = scored.sort_values(["score", "uri"], ascending=[False, True])
    scored = scored.rename(columns={"note": "detail"})
    scored = scored.assign(flagged=is_flagged(scored.score, threshold).astype("boolean"))
    # Each type is named, because a column that is empty has none of its own.
    parts = [
        part.reindex(columns=list(_DTYPES)).astype(_DTYPES) for part in (scored, catalogue.rejects)
    ]
    return with_sizes(pd.concat(parts, ignore_index=True), catalogue)


def _check_review(review: Path | None, highest: int | None, source: str, out: Path) -> None:
    """Refuse a folder for reviewers that could not be written, or whose files are somebody's."""
    if review is None:
        if highest is not None:
            raise UserError("--review-highest N says what is in the folder of --review: name one.")
        return
    check_output_folder(review, source, "--review")
    check_replaceable(review, (TABLE, PAGE), REVIEW, "--review")
    check_replaceable(review / THUMBNAILS, (), REVIEW, "--review")
    if out.resolve() in {(review / name).resolve() for name in (TABLE, PAGE, REPORT)}:
        raise UserError(
            f"--out {out} and --review {review} would write the same file: name another file."
        )


def _write_review(
    folder: Path, review: Review, provenance: Provenance, blurred: Collection[str]
) -> list[str]:
    """Write the folder for reviewers, and return lines that say where its files are."""
    load_image = Photos(home=str(home_folder())).store.open_working_copy
    report = {
        "command": REVIEW,
        **provenance.parts(),
        "images": review.n_images,
        "flagged": review.n_flagged,
        "reviewed": len(review.table),
    }
    # The page comes last, when all that it shows is there.
    is_on = is_blurring()
    thumbnails = thumbnail_files(review, load_image, blurred, blur=is_on)
    write_results(folder / THUMBNAILS, thumbnails, report)
    write_results(folder, review_files(review, provenance, blur=is_on), report)
    return [
        f"  review  {folder / PAGE}  {review.sentence()}",
        f"          {folder / TABLE}  is for the reviewers to fill in.",
    ]


def _summarise(
    catalogue: Catalogue,
    scores: NsfwScores,
    threshold: float,
    top: int,
    table: pd.DataFrame,
    seconds: float,
) -> None:
    n_images, n_rejects = len(scores.table), len(catalogue.rejects)
    n_flagged = int(is_flagged(scores.table.score, threshold).sum())
    images, files = (
        ("image" if n_images == 1 else "images"),
        ("file" if n_rejects == 1 else "files"),
    )
    click.echo(
        f"{n_images:,} {images} scored by {shown(scores.model)} in {seconds:.0f} s: "
        f"{scores.n_computed:,} anew, {n_rejects:,} {files} rejected"
    )
    if n_rejects:
        reject = catalogue.rejects.iloc[0]
        click.echo(f"  for example {printable_uri(reject.uri)}: {shown(reject.detail)}")
    report_unused(catalogue)
    click.echo(
        f"{n_flagged:,} flagged, with P({printable(scores.class_name)}) of {threshold:g} or more "
        "(--threshold)"
    )
    highest = table.head(top).dropna(subset="score")
    if len(highest):
        click.echo("Highest scores:" if len(highest) > 1 else "Highest score:")
    for row in highest.to_dict("records"):
        click.echo(_line(row))
    note = unread_note(scores.table)
    if note:
        click.echo(note)


def _line(row: Mapping[Any, Any]) -> str:
    frame = "" if pd.isna(row["frame"]) else f", frame {row['frame']}"
    flagged = "  flagged" if row["flagged"] else ""
    return f"  {row['score']:.4f}  {printable_uri(row['uri'])}{frame}{flagged}"
