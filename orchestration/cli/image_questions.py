"""What `explain` and `deconv` have in common: images, and a classifier to ask about a class."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.config import NsfwScoresConfig
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.models.classifier import check_class
from assets.methods.models.provenance import Provenance
from assets.resources.models import Models
from assets.resources.tracking import Tracking
from assets.results.originals import Original
from orchestration.cli.image_files import ImageFiles
from orchestration.cli.options import Options, check_output_folder
from orchestration.cli.result_folders import ImageFolders
from orchestration.cli.terminal_progress import TerminalProgress
from orchestration.definitions import build_resources


@dataclass(frozen=True)
class ImageQuestions:
    """The images, whose probability is attributed to their parts, and where all of it goes.

    ``made`` is the origin of the answers.
    """

    files: ImageFiles
    target: Target
    made: Provenance
    models: Models
    tracking: Tracking
    progress: TerminalProgress
    folders: ImageFolders


def image_questions(
    images: Sequence[str], out: Path, command: str, options: Options
) -> ImageQuestions:
    """Look at the images before the model is loaded; exit with 2 if none of them can be opened.

    Raises UserError for a folder or a classifier that cannot be used.
    """
    check_output_folder(out)
    compute = options.compute()
    resources = build_resources(compute=compute, strict_tracking=options.strict_tracking)
    progress = TerminalProgress(Console(stderr=True))
    files = ImageFiles(images, progress.notify)
    if not files:
        sys.exit(2)
    asked = options.config(NsfwScoresConfig)
    models: Models = resources["models"]
    loaded = models.load(asked.model, compute.settings(), progress.notify)
    check_class(loaded.classifier.class_names, asked.class_name)
    target = Target(loaded.classifier, loaded.identity, asked.class_name)
    made = provenance_of(target, asked.threshold)
    return ImageQuestions(
        files, target, made, models, resources["tracking"], progress, ImageFolders(out, command)
    )


def report_of(image: Original, made: Provenance, found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found in an image, and the origin of it, for ``report.json``."""
    frame = image.frame
    about = {"frame": frame.number, "seconds": frame.seconds, "note": image.note} if frame else {}
    # Reports of before name the fingerprint so.
    head = {**about, **made.parts(), "fingerprint": made.identity.fingerprint}
    return head | found
