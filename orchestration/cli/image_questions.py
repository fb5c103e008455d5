"""What `explain` and `deconv` have in common: images, and a classifier to ask about a class."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.config import NsfwScoresConfig
from assets.methods.attribution.target import Target
from assets.methods.models.classifier import check_class
from assets.resources.models import Models
from assets.resources.tracking import Tracking
from assets.results.originals import Original
from orchestration.cli.image_files import ImageFiles, Notify
from orchestration.cli.options import Options, check_output_folder
from orchestration.definitions import build_resources


@dataclass(frozen=True)
class ImageQuestions:
    """The images, whose probability is attributed to their parts, and where messages go."""

    files: ImageFiles
    target: Target
    models: Models
    tracking: Tracking
    console: Console
    notify: Notify


def image_questions(images: Sequence[str], out: Path, options: Options) -> ImageQuestions | None:
    """Look at the images before the model is loaded; None if none of them can be opened.

    Raises UserError for a folder or a classifier that cannot be used.
    """
    check_output_folder(out)
    compute = options.compute()
    resources = build_resources(compute=compute, strict_tracking=options.strict_tracking)
    console = Console(stderr=True)
    notify = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    files = ImageFiles(images, notify)
    if not files:
        return None
    asked = options.config(NsfwScoresConfig)
    models: Models = resources["models"]
    classifier = models.load(asked.model, compute.settings(), notify)
    check_class(classifier.class_names, asked.class_name)
    target = Target(classifier, asked.model, asked.class_name)
    return ImageQuestions(files, target, models, resources["tracking"], console, notify)


def report_json(image: Original, target: Target, found: dict[str, Any]) -> bytes:
    """Return what was found in an image as the content of ``report.json``."""
    head = {
        "image": image.uri,
        "model": target.model,
        "fingerprint": target.classifier.fingerprint,
        "class": target.class_name,
    }
    return json.dumps(head | found, indent=2).encode()
