"""`tessera score`: from a folder, a URL or a manifest to a table of scores and a summary."""

import time
from pathlib import Path

import click
import pandas as pd

from assets.config import NsfwScoresConfig, check_settings, config_of
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import printable, printable_uri
from assets.methods.common.tables import csv_bytes
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import collection_for
from assets.results.scores import unread_note, with_origin
from assets.values import NsfwScores
from orchestration.cli.collection_runs import (
    check_classifier,
    exit_for_checks,
    name_for,
    report_unused,
    run_collection,
)
from orchestration.cli.options import (
    Options,
    check_output_file,
    classifier_options,
    follow_links_option,
    frames_option,
    name_option,
    out_option,
    pass_options,
    path_or_url,
    run_options,
)

SHOWN = 5


@click.command("score")
@click.argument("source", type=path_or_url)
@out_option("CSV file for the scores.")
@name_option
@follow_links_option
@classifier_options
@frames_option
@run_options
@pass_options
def command(
    options: Options, source: str, out: Path, name: str | None, follow_links: bool | None
) -> None:
    """Score each photo of SOURCE: how probable is it that it belongs to a class, such as nsfw?

    SOURCE is a folder, a URL or a manifest, as for map.

    Example: tessera score photos --out scores.csv
    """
    begun = time.monotonic()
    name = name or name_for(source)
    collection = collection_for(name, source, follow_links)
    collection = collection.with_settings(options.settings, {"nsfw_scores"})
    check_settings(collection.settings)
    check_output_file(out, source)
    config = config_of(NsfwScoresConfig, collection.settings)
    check_classifier(config.model, config.class_name, options)
    outputs, run = run_collection("scores", collection, options)
    catalogue = outputs.read(Catalogue, "raw_images", name)
    scores = outputs.read(NsfwScores, "nsfw_scores", name)
    table = scores_table(catalogue, scores)
    write_whole(out, csv_bytes(table))
    _summarise(table, catalogue, scores, out, time.monotonic() - begun)
    exit_for_checks(run)


def scores_table(catalogue: Catalogue, scores: NsfwScores) -> pd.DataFrame:
    """Return a row a file, the highest score first: uri, image_id, score, frame, seconds, reason,
    detail, and the columns of ``with_origin``.

    A reject has a reason and no score, so that every file that claims to be a photo is in the
    table. Frame and seconds are those of `NsfwScores`, whose note on an animation is its detail.
    """
    scored = catalogue.images[["uri", "image_id"]].merge(scores.table, on="image_id")
    scored = scored.sort_values(["score", "uri"], ascending=[False, True])
    scored = scored.rename(columns={"note": "detail"})
    rows = pd.concat([scored, catalogue.rejects], ignore_index=True)[
        ["uri", "image_id", "score", "frame", "seconds", "reason", "detail"]
    ]
    return with_origin(rows, catalogue, scores.provenance)


def _summarise(
    table: pd.DataFrame, catalogue: Catalogue, scores: NsfwScores, out: Path, seconds: float
) -> None:
    click.echo(
        f"{len(scores.table):,} images scored by {scores.model} in {seconds:.0f} s: "
        f"{scores.n_computed:,} anew, {len(catalogue.rejects):,} files rejected"
    )
    report_unused(catalogue)
    click.echo(f"Highest P({scores.class_name}):")
    highest = table.head(SHOWN).dropna(subset="score")
    frames = ["" if pd.isna(frame) else f", frame {frame}" for frame in highest.frame]
    for score, uri, frame in zip(highest.score, highest.uri, frames, strict=True):
        click.echo(f"  {score:.4f}  {printable_uri(uri)}{frame}")
    note = unread_note(scores.table)
    if note:
        click.echo(note)
    click.echo(printable(f"  scores  {out}"))
