"""`tessera explain`: from images to maps of what a classifier looks at in them."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from PIL import Image

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import MapsSoFar
from assets.methods.attribution.target import Target
from assets.methods.common.shown_text import printable, shown
from assets.methods.models.provenance import Provenance
from assets.methods.plotting.blurring import draw_blurred
from assets.methods.plotting.png import png_bytes
from assets.resources.home import home_folder
from assets.resources.recent_use import EXPLAINED, WINDOWS, RecentUse
from assets.resources.tracking import TrackedRun
from assets.results.blurring import is_blurred_by
from assets.results.occlusion import (
    OcclusionResult,
    add_to_sheet,
    new_sheet,
    page_name,
    run_occlusion,
)
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
from orchestration.cli.common.result_folders import REPORT, SHEET, ImageWriter, ResultFolder
from orchestration.cli.common.result_index import write_index
from orchestration.cli.inputs.image_files import reading_settings
from orchestration.cli.inputs.image_questions import ImageQuestions, image_questions, report_of

_log = logging.getLogger("tessera")
# Drawing takes a second or two: levels that follow sooner on one another are not drawn.
SECONDS_BETWEEN_LEVELS = 5


@click.command("explain")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@out_option("Folder for the results. Each image gets a folder of its own in it.")
@several_classifiers_options
@frames_option
@setting("--preset", OcclusionMapsConfig)
@setting("--box", OcclusionMapsConfig)
@setting("--stride", OcclusionMapsConfig)
@setting("--tolerance", OcclusionMapsConfig)
@setting("--experiment", OcclusionMapsConfig)
@setting("--fill", OcclusionMapsConfig)
@setting("--long-side", OcclusionMapsConfig)
@setting("--colormap", OcclusionMapsConfig)
@setting("--scale", OcclusionMapsConfig)
@run_options
@pass_options
def command(
    options: Options,
    images: tuple[str, ...],
    out: Path,
    models: tuple[str, ...],
    class_names: tuple[str, ...],
) -> None:
    """Show which parts of each IMAGE, a path or a URL, make a classifier name the class.

    Windows are cut out of the image and scored alone, and they are painted over and the rest of the
    image is scored. The image is the working copy, which has the score of tessera score. Of an
    animation, the frame with the highest score is explained. An image that cannot be read is
    reported, and the exit code is 2.

    The map comes while you wait: the first windows lie far apart, and what is between them is
    estimated. The results in the folder are replaced as more windows are scored, and marked as
    estimates until all are. After Ctrl-C they stay as they are, and the same command goes on. With
    --tolerance, a map is finished when its estimated mean error is below that.

    Several images are also drawn below each other on a sheet. If --model is given several times,
    the sheet shows the classifiers side by side, and each gets a folder of its own. All of them
    explain the frame of an animation that the first one scores highest. The files index.html and
    index.csv list what this call and earlier ones found.

    The folder of an image has the name of its file and the beginning of its image_id. Where a
    folder of this name holds anything else than the result of an earlier call for the same file,
    the name gets a number: nothing else is overwritten.

    Example: tessera explain photo.jpg --out explained
    """
    config = options.config(OcclusionMapsConfig)
    settings = config.occlusion()
    asked = image_questions(images, out, "explain", options, models, class_names)
    targets, store, progress = asked.targets, asked.models.window_scores, asked.progress

    def run_one(image: Original, target: Target, made: Provenance, keep: _Keep) -> OcclusionResult:
        name = image.name if len(targets) == 1 else f"{image.name}, {target.model}"
        return run_occlusion(
            image.image,
            image.name,
            target,
            config,
            store,
            lambda estimate: progress.notify(f"{name}: {estimate.sentence()}"),
            progress.listener(_log, name, "windows"),
            image.judged,
            size=image.size,
            made=made,
            notes=image.figure_notes,
            notify=lambda sentence: progress.notify(f"{name}: {sentence}"),
            on_level=_Levels(keep, lambda sentence: progress.notify(f"{name}: {sentence}")),
        )

    pages, index = list[Path](), list[Path]()
    with asked.runs("explain", config.model_dump()) as runs, progress.bars:
        sheet = None
        if len(asked.files) > 1 or len(targets) > 1:
            sheet = SheetFolder(asked, config, runs)
        read = asked.files.read(reading_settings(options), targets[0])
        try:
            for step, image in enumerate(read, 1):
                results = []
                for target, made, folders, run in zip(
                    targets, asked.made, asked.folders, runs, strict=True
                ):
                    note = asked.frame_note(image, target)
                    keep = _Keep(image, settings, run, note, folders.writer(image))
                    result = run_one(image, target, made, keep)
                    paths = keep(result)
                    _summarise(image, result, target, paths.values())
                    log_result(image, result, run, step)
                    run.tags(result.made.parts())
                    run.file(f"{image.folder}/{REPORT}", paths[REPORT].read_bytes())
                    results.append(result)
                if sheet is not None:
                    sheet.add(image, results)
            pages = [] if sheet is None else sheet.finish()
        finally:
            RecentUse(home_folder()).note(EXPLAINED, WINDOWS, store.opened)
            index = write_index(out)
    for path in (*pages, *index):
        click.echo(printable(str(path)))
    if not asked.files.all_read:
        sys.exit(2)


@dataclass(frozen=True)
class _Keep:
    """Writes a result of an image and its report into a folder, where it replaces the last one."""

    image: Original
    settings: OcclusionSettings
    run: TrackedRun
    frame_note: str | None
    write: ImageWriter

    def __call__(self, result: OcclusionResult) -> dict[str, Path]:
        found = {**vars(self.settings), **result.metrics, **result.about}
        found |= {"box": result.box, "notes": result.notes}
        found["not_tracked"] = self.run.unreachable or None
        report = report_of(self.image, result.made, found, self.frame_note)
        return self.write(result.files, report)


class _Levels:
    """Keeps the results of levels that do not follow too soon on one another, and says so."""

    def __init__(self, keep: _Keep, notify: Callable[[str], object]) -> None:
        self._keep, self._notify = keep, notify
        self._last = time.monotonic()

    def __call__(self, found: MapsSoFar, draw: Callable[[], OcclusionResult]) -> None:
        if time.monotonic() - self._last < SECONDS_BETWEEN_LEVELS:
            return
        figure = self._keep(draw())["figure.png"]
        self._notify(f"{found.sentence()} The figure so far: {figure}")
        self._last = time.monotonic()


class SheetFolder:
    """The folder of a sheet, which gets each page when it is full; MLflow has it, too."""

    def __init__(
        self, asked: ImageQuestions, config: OcclusionMapsConfig, runs: Sequence[TrackedRun]
    ) -> None:
        self._asked, self._runs = asked, runs
        foot = [line for made in asked.made for line in made.lines()]
        self._sheet = new_sheet(config, self._keep, foot)
        self._folder: ResultFolder | None = None
        self._images: list[dict[str, str]] = []
        self._models: list[dict[str, str | float]] = []
        self._on_page: list[dict[str, str | float]] = []

    def add(self, image: Original, results: Sequence[OcclusionResult]) -> None:
        """Add the results of an image, one for each model."""
        targets = self._asked.targets
        notes = [self._asked.frame_note(image, target) for target in targets]
        lines = [[note] if note else [] for note in notes]
        scores = zip(targets, results, strict=True)
        if any(is_blurred_by(one.class_name, found.metrics["score"]) for one, found in scores):
            results = [replace(one, image=draw_blurred(one.image)) for one in results]
        add_to_sheet(self._sheet, targets, image.image_id, results, lines)
        models = [result.made.parts() for result in results]
        # A page has rows of the same models, and is kept when the first row of the next is added.
        self._on_page = models
        self._models += [model for model in models if model not in self._models]
        self._images.append({"image": image.uri, "image_id": image.image_id})

    def finish(self) -> list[Path]:
        """Write the last page and a report, and return the paths of the pages."""
        self._sheet.finish()
        if self._folder is None:
            return []
        paths = self._folder.finish({"models": self._models, "images": self._images})
        return [path for name, path in paths.items() if name != REPORT]

    def _keep(self, number: int, page: Image.Image) -> None:
        data, name = png_bytes(page, {"models": self._on_page}), page_name(number)
        if self._folder is None:
            self._folder = self._asked.out.open_sheet()
        self._folder.add(name, data)
        self._folder.note()
        for run in self._runs:
            run.file(f"{SHEET}/{name}", data)


def _summarise(
    image: Original, result: OcclusionResult, target: Target, paths: Iterable[Path]
) -> None:
    metrics = result.metrics
    by = shown(f" by {target.model}{_version(result.made)}")
    click.echo(f"{image.name}: P({target.class_name}) {metrics['score']:.4f}{by}")
    for experiment, found in result.maps.items():
        click.echo(
            f"  {experiment:<7} from {metrics[f'{experiment}.minimum']:.4f} to "
            f"{metrics[f'{experiment}.maximum']:.4f}, mean {metrics[f'{experiment}.mean']:.4f}; "
            f"{found.windows.count:,} windows, {found.n_computed:,} scored anew"
        )
    for note in result.notes:
        click.echo(f"  {note}")
    for path in paths:
        click.echo(printable(f"  {path}"))
    if image.note:
        click.echo(f"  {image.note}")


def _version(made: Provenance) -> str:
    return f", version {made.identity.version}" if made.identity.version else ""
