"""From the options of the command line to a table of scores on disk and a summary."""

import time
from pathlib import Path

import click
import pandas as pd

from assets.config import NsfwScoresConfig, check_settings
from assets.methods.common.files import write_whole
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import collection_for
from assets.values import NsfwScores
from orchestration.cli.collection_runs import (
    Options,
    check_classifier,
    given,
    given_file,
    run_collection,
)
from orchestration.cli.outputs import check_output_file
from orchestration.runs import FinishedRun

SHOWN = 5


def score_collection(
    name: str, source: str, out: Path, options: Options, debug: bool
) -> FinishedRun:
    """Score the images of a source, write the table to ``out``, and say what came of it.

    Raises UserError for a source, a setting or a file that cannot be used.
    """
    begun = time.monotonic()
    settings = {
        "raw_images": given(options, "allow_private_addresses"),
        "nsfw_scores": given(options, class_name="class_") | given_file(options, "model"),
    }
    settings = {asset: values for asset, values in settings.items() if values}
    collection = collection_for(name, source).with_settings(settings, {"nsfw_scores"})
    check_settings(collection.settings)
    check_output_file(out, source)
    config = NsfwScoresConfig(**collection.settings.get("nsfw_scores", {}))
    check_classifier(config.model, config.class_name, options)
    outputs, run = run_collection("scores", collection, options, debug)
    catalogue = outputs.read(Catalogue, "raw_images", name)
    scores = outputs.read(NsfwScores, "nsfw_scores", name)
    table = scores_table(catalogue, scores)
    write_whole(out, table.to_csv(index=False).encode("utf-8", "surrogateescape"))
    _summarise(table, catalogue, scores, out, time.monotonic() - begun)
    return run


def scores_table(catalogue: Catalogue, scores: NsfwScores) -> pd.DataFrame:
    """Return a row a file, the highest score first: uri, image_id, score, and reason and detail.

    A reject has a reason and no score, so that every file that was found is in the table.
    """
    scored = catalogue.images[["uri", "image_id"]].merge(scores.table, on="image_id")
    scored = scored.sort_values(["score", "uri"], ascending=[False, True])
    return pd.concat([scored, catalogue.rejects], ignore_index=True)[
        ["uri", "image_id", "score", "reason", "detail"]
    ]


def _summarise(
    table: pd.DataFrame, catalogue: Catalogue, scores: NsfwScores, out: Path, seconds: float
) -> None:
    click.echo(
        f"{len(scores.table):,} images scored by {scores.model} in {seconds:.0f} s: "
        f"{scores.n_computed:,} anew, {len(catalogue.rejects):,} files rejected"
    )
    click.echo(f"Highest P({scores.class_name}):")
    highest = table.head(SHOWN).dropna(subset="score")
    for score, uri in zip(highest.score, highest.uri, strict=True):
        click.echo(f"  {score:.4f}  {click.format_filename(uri)}")
    click.echo(f"  scores  {out}")
