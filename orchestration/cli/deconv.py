"""`tessera deconv`: from images to what a deconvnet carries back to their pixels."""

import json
import sys
from pathlib import Path

import click

from assets.config import DeconvnetMapsConfig
from assets.methods.common.files import write_whole
from assets.results.deconvnet import (
    DeconvnetQuestion,
    Reconstruction,
    log_reconstruction,
    reconstruction_files,
)
from orchestration.cli.image_files import ImageFile, reading_settings
from orchestration.cli.image_questions import image_questions
from orchestration.cli.options import (
    Options,
    classifier_options,
    out_option,
    pass_options,
    run_options,
    setting,
)


@click.command("deconv")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@classifier_options
@setting("--layer", DeconvnetMapsConfig)
@setting("--place", DeconvnetMapsConfig, nargs=3, type=int, metavar="CHANNEL ROW COLUMN")
@run_options
@pass_options
def command(options: Options, images: tuple[str, ...], out: Path) -> None:
    """Show which pixels of each IMAGE, a path or a URL, make a network name the class.

    A deconvnet carries the class, or one activation, back through the network to the pixels. An
    image that cannot be read is reported, and the exit code is 2.

    Example: tessera deconv photo.jpg --out deconvolved
    """
    config = options.config(DeconvnetMapsConfig)
    settings = config.settings()
    asked = image_questions(images, out, options)
    if asked is None:
        sys.exit(2)
    question = DeconvnetQuestion(asked.classifier, asked.model, asked.class_name, settings)
    with asked.tracking.lone_run("deconv", asked.notify) as run:
        names = {"model": asked.model, "class_name": asked.class_name}
        run.parameters({**config.model_dump(), **names})
        for image in asked.files.read(reading_settings(options)):
            asked.notify(f"{image.name}: {image.number} of {len(asked.files)}")
            answer = question.answer(image.picture, image.name)
            written = reconstruction_files(answer)
            report = {"report.json": _report(image, answer, question)}
            for name, data in (written | report).items():
                write_whole(out / image.folder / name, data)
            log_reconstruction(run, image.folder, answer, written, image.number)
            _summarise(image, answer, out / image.folder)
    if not asked.files.all_read:
        sys.exit(2)


def _report(image: ImageFile, answer: Reconstruction, question: DeconvnetQuestion) -> bytes:
    found = answer.found
    report = {
        "image": image.uri,
        "model": question.model,
        "fingerprint": question.classifier.fingerprint,
        "class": question.class_name,
        "score": found.score,
        "changed_score": found.changed_score,
        "start": vars(found.start) if found.start else None,
        "top_layer": found.top_layer,
        "top": [vars(one.activation) for one in found.top],
    }
    return json.dumps(report, indent=2).encode()


def _summarise(image: ImageFile, answer: Reconstruction, folder: Path) -> None:
    found = answer.found
    start = f"{found.start.layer}, channel {found.start.channel}" if found.start else "the class"
    click.echo(
        f"{image.name}: P({found.class_name}) {found.score:.4f}, {found.changed_score:.4f} after a "
        f"small step; reconstructed from {start}"
    )
    click.echo(f"  {click.format_filename(str(folder / 'figure.png'))}")
