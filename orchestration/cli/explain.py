"""`tessera explain`: from images to maps of what a classifier looks at in them."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from assets.config import OcclusionMapsConfig
from assets.methods.common.shown_text import printable
from assets.results.occlusion import OcclusionResult, run_occlusion
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

_log = logging.getLogger("tessera")


@click.command("explain")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@classifier_options
@frames_option
@setting("--preset", OcclusionMapsConfig)
@setting("--box", OcclusionMapsConfig)
@setting("--stride", OcclusionMapsConfig)
@setting("--experiment", OcclusionMapsConfig)
@setting("--fill", OcclusionMapsConfig)
@setting("--long-side", OcclusionMapsConfig)
@setting("--colormap", OcclusionMapsConfig)
@setting("--scale", OcclusionMapsConfig)
@run_options
@pass_options
def command(options: Options, images: tuple[str, ...], out: Path) -> None:
    """Show which parts of each IMAGE, a path or a URL, make a classifier name the class.

    Windows are cut out of the image and scored alone, and they are painted over and the rest of the
    image is scored. Of an animation, the frame with the highest score is explained. An image that
    cannot be read is reported, and the exit code is 2.

    The folder of an image has the name of its file. Where a folder of this name holds anything else
    than the result of an earlier call for the same file, the name gets a number: nothing else is
    overwritten.

    Example: tessera explain photo.jpg --out explained
    """
    config = options.config(OcclusionMapsConfig)
    settings = config.occlusion()
    asked = image_questions(images, out, "explain", options)
    target, store, progress = asked.target, asked.models.window_scores, asked.progress

    def run_one(image: Original) -> OcclusionResult:
        return run_occlusion(
            image.image,
            image.name,
            target,
            config,
            store,
            lambda estimate: progress.notify(f"{image.name}: {estimate.sentence()}"),
            progress.listener(_log, image.name, "windows"),
        )

    with asked.tracking.lone_run("explain", progress.notify) as run, progress.bars:
        run.parameters({**config.model_dump(), **target.names})
        read = asked.files.read(reading_settings(options), target)
        for image, result in tracked_results(read, run_one, run):
            about = {**vars(settings), **result.metrics, "not_tracked": run.unreachable or None}
            report = report_of(image, target, about)
            paths = asked.folders.write(image, result.files, report)
            _summarise(image, result, target.class_name, paths.values())
    if not asked.files.all_read:
        sys.exit(2)


def _summarise(
    image: Original, result: OcclusionResult, class_name: str, paths: Iterable[Path]
) -> None:
    metrics = result.metrics
    click.echo(f"{image.name}: P({class_name}) {metrics['score']:.4f}")
    for experiment, found in result.maps.items():
        click.echo(
            f"  {experiment:<7} from {metrics[f'{experiment}.minimum']:.4f} to "
            f"{metrics[f'{experiment}.maximum']:.4f}, mean {metrics[f'{experiment}.mean']:.4f}; "
            f"{found.windows.count:,} windows, {found.n_computed:,} scored anew"
        )
    for path in paths:
        click.echo(printable(f"  {path}"))
    if image.note:
        click.echo(f"  {image.note}")
