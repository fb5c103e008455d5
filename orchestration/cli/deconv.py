"""`tessera deconv`: from images to what a deconvnet carries back to their pixels."""

import sys
from pathlib import Path

import click

from assets.config import DeconvnetMapsConfig
from assets.methods.attribution.deconvnet_maps import DeconvnetMap
from assets.methods.common.shown_text import printable
from assets.results.deconvnet import DeconvnetResult, run_deconvnet
from assets.results.originals import Original, tracked_results
from orchestration.cli.image_files import reading_settings
from orchestration.cli.image_questions import image_questions, report_of
from orchestration.cli.options import (
    Options,
    classifier_options,
    frames_option,
    out_option,
    pass_options,
    run_options,
    setting,
)


@click.command("deconv")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@classifier_options
@frames_option
@setting("--layer", DeconvnetMapsConfig)
@setting("--place", DeconvnetMapsConfig, nargs=3, type=int, metavar="CHANNEL ROW COLUMN")
@run_options
@pass_options
def command(options: Options, images: tuple[str, ...], out: Path) -> None:
    """Show which pixels of each IMAGE, a path or a URL, make a network name the class.

    A deconvnet carries the class, or one activation, back through the network to the pixels. Of an
    animation it takes the frame with the highest score. An image that cannot be read is reported,
    and the exit code is 2.

    The folder of an image has the name of its file. Where a folder of this name holds anything else
    than the result of an earlier call for the same file, the name gets a number: nothing else is
    overwritten.

    Example: tessera deconv photo.jpg --out deconvolved
    """
    config = options.config(DeconvnetMapsConfig)
    settings = config.settings()
    asked = image_questions(images, out, "deconv", options)
    target, notify = asked.target, asked.progress.notify

    def run_one(image: Original) -> DeconvnetResult:
        notify(f"{image.name}: {image.number} of {len(asked.files)}")
        return run_deconvnet(image.image, image.name, target, settings)

    with asked.tracking.lone_run("deconv", notify) as run:
        run.parameters({**config.model_dump(), **target.names})
        read = asked.files.read(reading_settings(options), target)
        for image, result in tracked_results(read, run_one, run):
            found = result.found
            about = {
                **result.metrics,
                "not_tracked": run.unreachable or None,
                "start": vars(found.start) if found.start else None,
                "top_layer": found.top_layer,
                "top": [vars(one.activation) for one in found.top],
            }
            paths = asked.folders.write(image, result.files, report_of(image, target, about))
            _summarise(image, found, paths["figure.png"])
    if not asked.files.all_read:
        sys.exit(2)


def _summarise(image: Original, found: DeconvnetMap, figure: Path) -> None:
    start = f"{found.start.layer}, channel {found.start.channel}" if found.start else "the class"
    click.echo(
        f"{image.name}: P({found.class_name}) {found.score:.4f}, {found.changed_score:.4f} after a "
        f"small step; reconstructed from {start}"
    )
    click.echo(printable(f"  {figure}"))
    if image.note:
        click.echo(f"  {image.note}")
