"""`tessera deconv`: from images to what a deconvnet carries back to their pixels."""

import sys
from pathlib import Path

import click

from assets.config import DeconvnetMapsConfig
from assets.methods.attribution.target import Target
from assets.methods.common.shown_text import printable
from assets.methods.models.provenance import Provenance
from assets.results.deconvnet import DeconvnetResult, run_deconvnet
from assets.results.originals import Original, log_result
from orchestration.cli.common.options import (
    Options,
    frames_option,
    out_option,
    pass_options,
    run_options,
    setting,
    several_classifiers_options,
)
from orchestration.cli.common.result_folders import REPORT
from orchestration.cli.common.result_index import write_index
from orchestration.cli.inputs.image_files import reading_settings
from orchestration.cli.inputs.image_questions import image_questions, report_of


@click.command("deconv")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@several_classifiers_options
@frames_option
@setting("--layer", DeconvnetMapsConfig)
@setting("--place", DeconvnetMapsConfig, nargs=3, type=int, metavar="CHANNEL ROW COLUMN")
@run_options
@pass_options
def command(
    options: Options,
    images: tuple[str, ...],
    out: Path,
    models: tuple[str, ...],
    class_names: tuple[str, ...],
) -> None:
    """Show which pixels of each IMAGE, a path or a URL, make a network name the class.

    A deconvnet carries the class, or one activation, back through the network to the pixels. Of an
    animation it takes the frame with the highest score. An image that cannot be read is reported,
    and the exit code is 2.

    The folder of an image has the name of its file and the beginning of its image_id. Where a
    folder of this name holds anything else than the result of an earlier call for the same file,
    the name gets a number: nothing else is overwritten. If --model is given several times, each
    network gets a folder of its own, and all of them take the frame of an animation that the first
    one scores highest. The files index.html and index.csv list what this call and
    earlier ones found.

    Example: tessera deconv photo.jpg --out deconvolved
    """
    config = options.config(DeconvnetMapsConfig)
    settings = config.settings()
    asked = image_questions(images, out, "deconv", options, models, class_names)
    notify = asked.progress.notify

    def run_one(image: Original, target: Target, made: Provenance) -> DeconvnetResult:
        notify(f"{image.name}: {image.number} of {len(asked.files)}")
        return run_deconvnet(
            image.image,
            image.name,
            target,
            settings,
            image.judged,
            size=image.size,
            made=made,
            notes=image.figure_notes,
        )

    index = list[Path]()
    with asked.runs("deconv", config.model_dump()) as runs:
        read = asked.files.read(reading_settings(options), asked.targets[0])
        try:
            for step, image in enumerate(read, 1):
                for target, made, folders, run in zip(
                    asked.targets, asked.made, asked.folders, runs, strict=True
                ):
                    result = run_one(image, target, made)
                    found = result.found
                    about = {
                        **result.metrics,
                        **result.about,
                        "notes": result.notes,
                        "not_tracked": run.unreachable or None,
                        "start": vars(found.start) if found.start else None,
                        "top_layer": found.top_layer,
                        "top": [vars(one.activation) for one in found.top],
                    }
                    report = report_of(image, result.made, about, asked.frame_note(image, target))
                    paths = folders.write(image, result.files, report)
                    _summarise(image, result, paths["figure.png"])
                    log_result(image, result, run, step)
                    run.tags(result.made.parts())
                    run.file(f"{image.folder}/{REPORT}", paths[REPORT].read_bytes())
        finally:
            index = write_index(out)
    for path in index:
        click.echo(printable(str(path)))
    if not asked.files.all_read:
        sys.exit(2)


def _summarise(image: Original, result: DeconvnetResult, figure: Path) -> None:
    found = result.found
    start = f"{found.start.layer}, channel {found.start.channel}" if found.start else "the class"
    click.echo(
        f"{image.name}: P({found.class_name}) {found.score:.4f}; padded to a square "
        f"{found.square_score:.4f}, after a small step {found.changed_score:.4f}; reconstructed "
        f"from {start}"
    )
    for note in result.notes:
        click.echo(f"  {note}")
    click.echo(printable(f"  {figure}"))
    if image.note:
        click.echo(f"  {image.note}")
