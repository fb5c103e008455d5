"""From images named on the command line to the maps of what a classifier looks at in them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.occlusion import EXPERIMENTS
from assets.methods.common.files import write_whole
from assets.results.occlusion import OcclusionResult, run_occlusion
from assets.results.originals import Original, tracked_results
from orchestration.cli.collection_runs import Options, given, given_file
from orchestration.cli.image_files import reading_settings
from orchestration.cli.image_questions import image_questions, report_json
from orchestration.cli.terminal_progress import TerminalProgress

_log = logging.getLogger("tessera")


def explain_files(images: Sequence[str], out: Path, options: Options) -> bool:
    """Map what the classifier looks at in each image, into a folder of its own below ``out``.

    Images that cannot be read are reported, and the others are mapped all the same. Returns whether
    all could be read. Raises UserError for a setting, a classifier or a folder that cannot be used.
    """
    config = OcclusionMapsConfig(**_settings(options))
    settings = config.occlusion()
    asked = image_questions(images, out, options, config)
    if asked is None:
        return False
    target, store = asked.target, asked.models.window_scores
    progress = TerminalProgress(asked.console)

    def run_one(image: Original) -> OcclusionResult:
        return run_occlusion(
            image.image,
            image.name,
            target,
            config,
            store,
            lambda estimate: asked.tell(f"{image.name}: {estimate.sentence()}"),
            progress.listener(_log, image.name, "windows"),
        )

    with asked.tracking.lone_run("explain", asked.tell) as run, progress.bars:
        run.parameters({**config.model_dump(), **target.names})
        read = asked.files.read(reading_settings(options))
        for image, result in tracked_results(read, run_one, run):
            found = report_json(image, target, {**vars(settings), **result.metrics})
            paths = _write(out / image.folder, {**result.files, "report.json": found})
            _summarise(image.name, result, target.class_name, paths)
    return asked.files.all_read


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write what was found; what an earlier call has left of other experiments goes."""
    for name, data in files.items():
        write_whole(folder / name, data)
    for experiment in EXPERIMENTS:
        for file in (f"{experiment}.npy", f"{experiment}.png"):
            if file not in files:
                (folder / file).unlink(missing_ok=True)
    return [folder / name for name in files]


def _summarise(name: str, result: OcclusionResult, class_name: str, paths: Sequence[Path]) -> None:
    metrics = result.metrics
    click.echo(f"{name}: P({class_name}) {metrics['score']:.4f}")
    for experiment, found in result.maps.items():
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
