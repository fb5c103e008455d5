"""The step that runs the whole pipeline as a user does, by the command line in a new home."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from bench.gpu.photos import astronaut, write_tiles
from bench.gpu.step import Context

# A line of `tessera check`: the verdict, the check, what it found.
CHECK = re.compile(r"(passed|FAILED|warning) +(\w+) *(.*)")


def run_pipeline(context: Context) -> None:
    """Map the demo, then map, score and examine it with all checks, then explain a photograph."""
    home, mapped = context.folder / "home", context.folder / "mapped"
    source = write_tiles(context.shared / "tiles", context.sizes.n_tiles)
    device = ("--device", context.device)
    name = "demo-tiles"
    map_arguments = ("map", str(source), "--name", name, "--out", str(mapped), *device)
    if _tessera(context, home, *map_arguments).returncode == 0:
        _take_map(mapped, context)
    _take_checks(_tessera(context, home, "check", name, "--run", *device).stdout, context)
    photo = context.folder / "astronaut.png"
    astronaut().save(photo)
    explained = context.folder / "explained"
    stride = ("--stride", str(context.sizes.compared_stride))
    arguments = ("explain", str(photo), "--out", str(explained), "--model", "open_nsfw")
    if _tessera(context, home, *arguments, *stride, *device).returncode == 0:
        figure = next(explained.rglob("figure.png"))
        shutil.copyfile(figure, context.out / "explain.png")
    _look_at_tracking(home, context)


def _tessera(context: Context, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of tessera, and keep what it writes to its standard output."""
    environment = {**os.environ, "TESSERA_HOME": str(home), "DAGSTER_HOME": str(home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "orchestration.cli", "--debug", *arguments]
    started = time.monotonic()
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    print(ended.stdout)
    context.findings.row(
        "Commands",
        command=f"tessera {arguments[0]}",
        exit_code=ended.returncode,
        seconds=round(time.monotonic() - started, 1),
    )
    if ended.returncode:
        context.findings.fail(f"tessera {arguments[0]} ended with {ended.returncode}.")
    return ended


def _take_map(mapped: Path, context: Context) -> None:
    report = json.loads((mapped / "report.json").read_text())
    for asset in ("raw_images", "embeddings", "tsne_2d", "grid_assignment", "mosaic"):
        context.findings.row("Seconds by asset", asset=asset, seconds=report["seconds"][asset])
    for metric in ("dpq16", "trustworthiness", "points_trustworthiness", "neighbourhood_purity"):
        context.findings.row("The map", metric=metric, value=report["quality"][metric])
    shutil.copyfile(mapped / "mosaic.jpg", context.out / "mosaic.jpg")


def _take_checks(answer: str, context: Context) -> None:
    found = [match for line in answer.splitlines() if (match := CHECK.fullmatch(line))]
    for verdict, check, description in (match.groups() for match in found):
        passed = verdict == "passed"
        context.findings.row("Asset checks", check=check, passed=passed, found=description)
        if not passed:
            context.findings.fail(f"The check {check} failed: {description}")
    if not found:
        context.findings.fail("tessera check names no check.")


def _look_at_tracking(home: Path, context: Context) -> None:
    """See that MLflow has every run, on its SQLite, and that none of them is unfinished."""
    from mlflow import MlflowClient

    database = home / "mlflow.db"
    if not database.exists():
        context.findings.fail("MLflow's database was not written.")
        return
    client = MlflowClient(f"sqlite:///{database}")
    counts: Counter[tuple[str, str]] = Counter()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            status = run.info.status
            counts[experiment.name, status] += 1
            if status != "FINISHED":
                context.findings.fail(f"MLflow's run {run.info.run_name} is {status}.")
    for (name, status), n in counts.items():
        context.findings.row("Runs in MLflow", experiment=name, status=status, runs=n)
    if not counts:
        context.findings.fail("MLflow has no run.")
