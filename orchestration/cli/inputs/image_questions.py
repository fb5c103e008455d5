"""What `explain` and `deconv` have in common: images, and a classifier to ask about a class."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.config import NsfwScoresConfig
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.methods.models.classifier import check_class
from assets.methods.models.provenance import Provenance
from assets.resources.models import Models
from assets.resources.tracking import TrackedRun, Tracking
from assets.results.originals import Original, numbered, safe_name, short_id
from orchestration.cli.common.options import Options, check_output_folder
from orchestration.cli.common.result_folders import ImageFolders
from orchestration.cli.common.result_index import check_index
from orchestration.cli.common.terminal_progress import TerminalProgress
from orchestration.cli.inputs.image_files import ImageFiles, Notify
from orchestration.definitions import build_resources


@dataclass(frozen=True)
class ImageQuestions:
    """The images, whose probability is attributed to their parts, and where all of it goes.

    Each of ``targets`` has its ``folders``, and the origin of its answers in ``made``; ``out`` has
    the folders of results about all images.
    """

    files: ImageFiles
    targets: Sequence[Target]
    made: Sequence[Provenance]
    models: Models
    tracking: Tracking
    progress: TerminalProgress
    folders: Sequence[ImageFolders]
    out: ImageFolders

    def frame_note(self, image: Original, target: Target) -> str | None:
        """Return a sentence if another model than ``target`` chose the frame of an animation."""
        first = self.targets[0]
        if image.frame is None or target is first:
            return None
        return (
            f"{shown(first.model)} scores this frame highest; by this model another frame may have "
            "a higher score."
        )

    @contextmanager
    def runs(self, name: str, settings: Mapping[str, Any]) -> Iterator[list[TrackedRun]]:
        """Track a run for each target, with its settings."""
        with ExitStack() as stack:
            notify = self.progress.notify
            runs = [stack.enter_context(self.tracking.lone_run(name, notify)) for _ in self.targets]
            for run, target in zip(runs, self.targets, strict=True):
                run.parameters({**settings, **target.names})
            yield runs


def image_questions(
    images: Sequence[str],
    out: Path,
    command: str,
    options: Options,
    models: Sequence[str],
    class_names: Sequence[str],
) -> ImageQuestions:
    """Look at the images before the models are loaded; exit with 2 if none of them can be opened.

    Raises UserError for a folder or a classifier that cannot be used.
    """
    asked = list(zip(models, _class_of_each(models, class_names), strict=True))
    check_output_folder(out)
    check_index(out)
    compute = options.compute()
    resources = build_resources(compute=compute, strict_tracking=options.strict_tracking)
    progress = TerminalProgress(Console(stderr=True))
    files = ImageFiles(images, progress.notify)
    if not files:
        sys.exit(2)
    known: Models = resources["models"]
    targets = [_target(known, *one, compute.settings(), progress.notify) for one in asked]
    whole, folders = ImageFolders(out, command), [ImageFolders(out, command)]
    if len(targets) > 1:
        folders = [ImageFolders(out / name, command) for name in model_folders(targets)]
    threshold = options.config(NsfwScoresConfig).threshold
    return ImageQuestions(
        files,
        targets,
        [provenance_of(target, threshold) for target in targets],
        known,
        resources["tracking"],
        progress,
        folders,
        whole,
    )


def model_folders(targets: Sequence[Target]) -> list[str]:
    """Return a name for the folder of each model, of its own name and a short id."""
    names: list[str] = []
    for target in targets:
        is_file = target.model.endswith(".safetensors")
        own = Path(target.model).stem if is_file else re.sub(r"^\w+:/+", "", target.model)
        base = f"{safe_name(own)}-{short_id(target.identity.fingerprint)}"
        names.append(next(name for name in numbered(base) if name not in names))
    return names


def report_of(
    image: Original, made: Provenance, found: dict[str, Any], frame_note: str | None = None
) -> dict[str, Any]:
    """Return what was found in an image, and the origin of it, for ``report.json``."""
    frame = image.frame
    about = {"frame": frame.number, "seconds": frame.seconds, "note": image.note} if frame else {}
    if frame_note:
        about["frame_note"] = frame_note
    # Reports of before name the fingerprint so.
    head = {**about, **made.parts(), "fingerprint": made.identity.fingerprint}
    return head | found


def _class_of_each(models: Sequence[str], class_names: Sequence[str]) -> Sequence[str]:
    """Return the class that each model is asked for; raises UserError where that is unclear."""
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise UserError(f"--model {shown(twice)} was given twice: name each classifier once.")
    if len(class_names) == 1:
        return [class_names[0]] * len(models)
    if len(class_names) != len(models):
        raise UserError(
            f"--class was given {len(class_names)} times and --model {len(models)} times: name one "
            "class for all classifiers, or one for each in their order."
        )
    return class_names


def _target(
    models: Models, model: str, class_name: str, compute: ComputeSettings, notify: Notify
) -> Target:
    loaded = models.load(model, compute, notify)
    check_class(loaded.classifier.class_names, class_name)
    return Target(loaded.classifier, loaded.identity, class_name)
