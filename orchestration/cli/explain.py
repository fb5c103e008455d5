"""From images named on the command line to the maps of what a classifier looks at in them."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.explain import ExplainedImage, Question, explain_image
from assets.methods.attribution.occlusion import EXPERIMENTS
from assets.methods.attribution.occlusion_maps import Announcement
from assets.methods.common.files import write_whole
from assets.resources.models import Models
from assets.resources.tracking import TrackedRun
from assets.results.occlusion import explained_files, log_explained
from orchestration.cli.collection_runs import Options, given, given_file
from orchestration.cli.image_files import ImageFile, Tell, reading_settings
from orchestration.cli.image_questions import image_questions
from orchestration.cli.terminal_progress import TerminalProgress

_log = logging.getLogger("tessera")


@dataclass(frozen=True)
class _Work:
    """What is the same for each image: the question, the store, and who listens."""

    question: Question
    models: Models
    run: TrackedRun
    progress: TerminalProgress
    tell: Tell
    out: Path


def explain_files(images: Sequence[str], out: Path, options: Options) -> bool:
    """Map what the classifier looks at in each image, into a folder of its own below ``out``.

    An image that cannot be read is told of, and the others are done all the same; returns whether
    there was none. Raises UserError for a setting, a classifier or a folder that cannot be used.
    """
    config = OcclusionMapsConfig(**_settings(options))
    config.occlusion()
    asked = image_questions(images, out, options, config)
    if asked is None:
        return False
    progress = TerminalProgress(asked.console)
    with asked.tracking.lone_run("explain", asked.tell) as run, progress.bars:
        names = {"model": asked.model, "class_name": asked.class_name}
        run.parameters({**config.model_dump(), **names})
        question = config.question(asked.classifier, **names)
        work = _Work(question, asked.models, run, progress, asked.tell, out)
        for image in asked.files.read(reading_settings(options)):
            _explain_one(image, work)
    return asked.files.all_read


def _explain_one(image: ImageFile, work: _Work) -> None:
    def announce(announcement: Announcement) -> None:
        work.tell(f"{image.name}: {announcement.sentence()}")

    explained = explain_image(
        image.picture,
        image.name,
        work.question,
        work.models.window_scores,
        announce,
        work.progress.listener(_log, image.name, "windows"),
    )
    files = explained_files(explained)
    report = {"report.json": _report(image.uri, explained, work.question)}
    paths = _write(work.out / image.folder, files | report)
    log_explained(work.run, image.folder, explained, files, image.number)
    _summarise(image.name, explained, work.question.class_name, paths)


def _report(uri: str, explained: ExplainedImage, question: Question) -> bytes:
    report = {
        "image": uri,
        "model": question.model,
        "fingerprint": question.classifier.fingerprint,
        "class": question.class_name,
        **vars(question.occlusion),
        **explained.metrics,
    }
    return json.dumps(report, indent=2).encode()


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write what was found; what an earlier call has left of other experiments goes."""
    for name, data in files.items():
        write_whole(folder / name, data)
    for experiment in EXPERIMENTS:
        for file in (f"{experiment}.npy", f"{experiment}.png"):
            if file not in files:
                (folder / file).unlink(missing_ok=True)
    return [folder / name for name in files]


def _summarise(
    name: str, explained: ExplainedImage, class_name: str, paths: Sequence[Path]
) -> None:
    click.echo(f"{name}: P({class_name}) {explained.score:.4f}")
    for experiment, found in explained.maps.items():
        metrics = explained.metrics
        click.echo(
            f"  {experiment:<7} from {metrics[f'{experiment}.minimum']:.4f} to "
            f"{metrics[f'{experiment}.maximum']:.4f}, mean {metrics[f'{experiment}.mean']:.4f}; "
            f"{found.windows.count:,} windows, {found.n_computed:,} scored anew"
        )
    for path in paths:
        click.echo(f"  {click.format_filename(path)}")


def _settings(options: Options) -> dict[str, Any]:
    settings = given(
        options,
        "preset", "box", "stride", "experiment", "fill", "long_side", "colormap", "scale",
        class_name="class_",
    )  # fmt: skip
    return settings | given_file(options, "model")
