"""From images named on the command line to what a deconvnet carries back to their pixels."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assets.config import DeconvnetMapsConfig
from assets.methods.common.files import write_whole
from assets.results.deconvnet import (
    DeconvnetQuestion,
    Reconstruction,
    log_reconstruction,
    reconstruction_files,
)
from orchestration.cli.collection_runs import Options, given, given_file
from orchestration.cli.image_files import ImageFile, reading_settings
from orchestration.cli.image_questions import image_questions

_log = logging.getLogger("tessera")


def deconvolve_files(images: Sequence[str], out: Path, options: Options) -> bool:
    """Carry each image back to its pixels, into a folder of its own below ``out``.

    An image that cannot be read is told of, and the others are done all the same; returns whether
    there was none. Raises UserError for a setting, a classifier or a folder that cannot be used.
    """
    config = DeconvnetMapsConfig(**_settings(options))
    settings = config.settings()
    asked = image_questions(images, out, options, config)
    if asked is None:
        return False
    question = DeconvnetQuestion(asked.classifier, asked.model, asked.class_name, settings)
    with asked.tracking.lone_run("deconv", asked.tell) as run:
        names = {"model": asked.model, "class_name": asked.class_name}
        run.parameters({**config.model_dump(), **names})
        for image in asked.files.read(reading_settings(options)):
            asked.tell(f"{image.name}: {image.number} of {len(asked.files)}")
            answer = question.answer(image.picture, image.name)
            written = reconstruction_files(answer)
            report = {"report.json": _report(image, answer, question)}
            for name, data in (written | report).items():
                write_whole(out / image.folder / name, data)
            log_reconstruction(run, image.folder, answer, written, image.number)
            _summarise(image, answer, out / image.folder)
    return asked.files.all_read


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


def _settings(options: Options) -> dict[str, Any]:
    settings = given(options, "layer", class_name="class_") | given_file(options, "model")
    if options.get("place") is not None:
        settings["place"] = list(options["place"])
    return settings
