"""`tessera explain`: from images to maps of what a classifier looks at in them."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.explain import ExplainedImage, Question, explain_image
from assets.methods.attribution.occlusion import EXPERIMENTS
from assets.methods.attribution.occlusion_maps import Announcement
from assets.methods.common.files import write_whole
from assets.resources.models import Models
from assets.resources.tracking import TrackedRun
from assets.results.occlusion import explained_files, log_explained
from orchestration.cli.image_files import ImageFile, Notify, reading_settings
from orchestration.cli.image_questions import image_questions
from orchestration.cli.options import (
    Options,
    classifier_options,
    out_option,
    pass_options,
    run_options,
    setting,
)
from orchestration.cli.terminal_progress import TerminalProgress

_log = logging.getLogger("tessera")


@dataclass(frozen=True)
class _Work:
    """What is the same for each image: the question, the store, and where messages go."""

    question: Question
    models: Models
    run: TrackedRun
    progress: TerminalProgress
    notify: Notify
    out: Path


@click.command("explain")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@classifier_options
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
    image is scored. An image that cannot be read is reported, and the exit code is 2.

    Example: tessera explain photo.jpg --out explained
    """
    config = options.config(OcclusionMapsConfig)
    config.occlusion()
    asked = image_questions(images, out, options)
    if asked is None:
        sys.exit(2)
    progress = TerminalProgress(asked.console)
    with asked.tracking.lone_run("explain", asked.notify) as run, progress.bars:
        names = {"model": asked.model, "class_name": asked.class_name}
        run.parameters({**config.model_dump(), **names})
        question = config.question(asked.classifier, **names)
        work = _Work(question, asked.models, run, progress, asked.notify, out)
        for image in asked.files.read(reading_settings(options)):
            _explain_one(image, work)
    if not asked.files.all_read:
        sys.exit(2)


def _explain_one(image: ImageFile, work: _Work) -> None:
    def announce(announcement: Announcement) -> None:
        work.notify(f"{image.name}: {announcement.sentence()}")

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
