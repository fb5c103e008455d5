"""What `explain` and `deconv` have in common: images, and a classifier to ask about a class."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.config import DeconvnetMapsConfig, NsfwScoresConfig, OcclusionMapsConfig
from assets.methods.attribution.target import Target
from assets.methods.models.classifier import check_class
from assets.resources.models import Models
from assets.resources.tracking import Tracking
from assets.results.originals import Original
from orchestration.cli.collection_runs import Options, compute_resource
from orchestration.cli.image_files import ImageFiles, Tell
from orchestration.cli.outputs import check_output_folder
from orchestration.definitions import build_resources


@dataclass(frozen=True)
class ImageQuestions:
    """Which images, whose probability is attributed to their parts, and where to report."""

    files: ImageFiles
    target: Target
    models: Models
    tracking: Tracking
    console: Console
    tell: Tell


def image_questions(
    images: Sequence[str],
    out: Path,
    options: Options,
    config: OcclusionMapsConfig | DeconvnetMapsConfig,
) -> ImageQuestions | None:
    """Look at the images before the model is loaded; None if none of them can be opened.

    The classifier and the class are by default those of nsfw_scores. Raises UserError for a folder
    or a classifier that cannot be used.
    """
    check_output_folder(out)
    compute = compute_resource(options)
    resources = build_resources(
        compute=compute, strict_tracking=bool(options.get("strict_tracking"))
    )
    console = Console(stderr=True)
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    files = ImageFiles(images, tell)
    if not files:
        return None
    defaults = NsfwScoresConfig()
    model, class_name = config.model or defaults.model, config.class_name or defaults.class_name
    models: Models = resources["models"]
    classifier = models.load(model, compute.settings(), tell)
    check_class(classifier.class_names, class_name)
    target = Target(classifier, model, class_name)
    return ImageQuestions(files, target, models, resources["tracking"], console, tell)


def report_json(image: Original, target: Target, found: dict[str, Any]) -> bytes:
    """Return what was found in an image as the content of ``report.json``."""
    head = {
        "image": image.uri,
        "model": target.model,
        "fingerprint": target.classifier.fingerprint,
        "class": target.class_name,
    }
    return json.dumps(head | found, indent=2).encode()
