"""From images named on the command line to what a deconvnet finds in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assets.config import DeconvnetMapsConfig
from assets.methods.attribution.deconvnet_maps import DeconvnetMap
from assets.methods.common.files import write_whole
from assets.results.deconvnet import DeconvnetResult, run_deconvnet
from assets.results.originals import Original, tracked_results
from orchestration.cli.collection_runs import Options, given, given_file
from orchestration.cli.image_files import reading_settings
from orchestration.cli.image_questions import image_questions, report_json


def deconvolve_files(images: Sequence[str], out: Path, options: Options) -> bool:
    """Run the deconvnet on each image, into a folder of its own below ``out``.

    Images that cannot be read are reported, and the others are done all the same. Returns whether
    all could be read. Raises UserError for a setting, a classifier or a folder that cannot be used.
    """
    config = DeconvnetMapsConfig(**_settings(options))
    settings = config.settings()
    asked = image_questions(images, out, options, config)
    if asked is None:
        return False
    target = asked.target

    def run_one(image: Original) -> DeconvnetResult:
        asked.tell(f"{image.name}: {image.number} of {len(asked.files)}")
        return run_deconvnet(image.image, image.name, target, settings)

    with asked.tracking.lone_run("deconv", asked.tell) as run:
        run.parameters({**config.model_dump(), **target.names})
        read = asked.files.read(reading_settings(options))
        for image, result in tracked_results(read, run_one, run):
            found = result.found
            about = {
                **result.metrics,
                "start": vars(found.start) if found.start else None,
                "top_layer": found.top_layer,
                "top": [vars(one.activation) for one in found.top],
            }
            files = {**result.files, "report.json": report_json(image, target, about)}
            for name, data in files.items():
                write_whole(out / image.folder / name, data)
            _summarise(image, found, out / image.folder)
    return asked.files.all_read


def _summarise(image: Original, found: DeconvnetMap, folder: Path) -> None:
    start = f"{found.start.layer}, channel {found.start.channel}" if found.start else "the class"
    click.echo(
        f"{image.name}: P({found.class_name}) {found.score:.4f}, {found.changed_score:.4f} after a "
        f"small step; reconstructed from {start}"
    )
    click.echo(f"  {click.format_filename(str(folder / 'figure.png'))}")


def _settings(options: Options) -> dict[str, Any]:
    settings = given(options, "layer", class_name="class_") | given_file(options, "model")
    if options.get("place") is not None:
        settings["place"] = list(options["place"])
    return settings
