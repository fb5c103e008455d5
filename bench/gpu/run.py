"""Proves on a machine with a card that all of Tessera runs there, and measures how fast.

Each step runs in a process of its own with a time limit; one that fails or takes too long is
reported, and the next one runs. Results go to the folder OUT after each step: gpu.json, gpu.md and
pictures. The exit code is 1 unless every step is green. Nothing is downloaded.

Run in the root of the checkout: python -m bench.gpu.run OUT [--parts FOLDER] [--device cpu]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.gpu.install import install
from bench.gpu.report import FAILED, GREEN, TIMED_OUT, Report, StepReport, section
from bench.gpu.sizes import BY_NAME, sizes_name
from bench.gpu.step import Step

CHECKOUT = Path(__file__).parents[2]
# What a step may take, in seconds, where a card is used; in order of what is worth most.
STEPS = (
    Step("machine", "The machine", "machine:describe", 40),
    Step("tests", "Tests marked cuda", "card_tests:run_tests", 150),
    Step("pipeline", "The whole pipeline, as a user runs it", "pipeline:run_pipeline", 150),
    Step("agreement", "Agreement with the CPU", "agreement:compare", 90),
    Step("networks", "Decoding, embedding and scoring", "network_speed:measure", 90),
    Step("occlusion", "Occlusion", "occlusion_speed:measure", 90),
    Step("tsne", "t-SNE", "layout_speed:measure", 90),
    Step("training", "Trainings of the study", "training_speed:measure", 60),
)
# The same on the CPU of the same machine, when all else is done.
BESIDE = tuple(
    Step(f"{step.name}-cpu", f"{step.heading}, on the CPU beside it", step.function, 60)
    for step in STEPS
    if step.name in ("networks", "occlusion", "tsne", "training")
)
SECONDS_ON_CARD = 465
SECONDS_OF_REHEARSAL = 900
# Steps of a rehearsal run on fewer cores.
LONGER = 3
TAIL = 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", type=Path, help="folder of collect, installed beside the rest")
    parser.add_argument("--steps", help="names of steps to run, with commas; without it, all")
    parser.add_argument("--seconds", type=float, help="time limit of all steps")
    arguments = parser.parse_args()
    deadline = time.monotonic() + (
        arguments.seconds
        or (SECONDS_ON_CARD if arguments.device == "cuda" else SECONDS_OF_REHEARSAL)
    )
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        if arguments.parts:
            started = time.monotonic()
            install(arguments.parts, site)
            print(f"Installed {arguments.parts} in {time.monotonic() - started:.0f} s.", flush=True)
        steps = chosen_steps(arguments.device, arguments.steps)
        report = run_steps(steps, arguments.device, out, Path(folder), site, deadline)
    n_green = sum(step.verdict == GREEN for step in report.steps)
    print(f"{n_green} of {len(report.steps)} steps green: {out / 'gpu.md'}")
    return 0 if report.all_green else 1


def chosen_steps(device: str, names: str | None) -> list[Step]:
    """Return the steps to run, in order; raises SystemExit for a name that is none."""
    steps = [*STEPS, *BESIDE] if device == "cuda" else list(STEPS)
    if names is None:
        return steps
    wanted = names.split(",")
    unknown = set(wanted) - {step.name for step in steps}
    if unknown:
        known = ", ".join(step.name for step in steps)
        sys.exit(f"There is no step {' or '.join(sorted(unknown))}: choose of {known}.")
    return [step for step in steps if step.name in wanted]


def run_steps(
    steps: list[Step], device: str, out: Path, folder: Path, site: Path, deadline: float
) -> Report:
    """Run the steps one after the other, and write the report after each."""
    begun = time.monotonic()
    longer = 1 if device == "cuda" else LONGER
    reports = []
    for step in steps:
        on = "cpu" if step in BESIDE else device
        reports.append(StepReport(step.name, step.heading, on, longer * step.limit_seconds))
    now = datetime.now(UTC)
    sizes = dict(vars(BY_NAME[sizes_name(device, device)]))
    report = Report(f"{now:%Y-%m-%d %H:%M} UTC", device, sizes, reports)
    for step, one in zip(steps, reports, strict=True):
        left = deadline - time.monotonic()
        if left > 5:
            one.limit_seconds = min(one.limit_seconds, left)
            _run(step, one, sizes_name(device, one.device), out, folder, site)
            print("\n".join(["", *section(one)]))
            print(f"{step.name}: {one.verdict}, {one.seconds:.1f} s", flush=True)
        else:
            print(f"{step.name}: {one.verdict}, as no time is left", flush=True)
        report.seconds = time.monotonic() - begun
        report.write(out)
    return report


def _run(step: Step, report: StepReport, sizes: str, out: Path, folder: Path, site: Path) -> None:
    """Run a step in a process of its own, and take over what it left."""
    result, log = folder / f"{step.name}.json", folder / f"{step.name}.log"
    places = [str(CHECKOUT), *([str(site)] if site.exists() else [])]
    places += filter(None, [os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}
    if report.device == "cpu":
        # What would take the card of its own accord takes the CPU.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "bench.gpu.one_step"]
    arguments = [step.function, report.device, sizes, str(result), str(out)]
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(report.limit_seconds)
            report.verdict = GREEN if exit_code == 0 else FAILED
        except subprocess.TimeoutExpired:
            report.verdict = TIMED_OUT
        finally:
            # Also what it has started, such as commands and workers of tests.
            _end(process)
    report.seconds = time.monotonic() - started
    if result.exists():
        found = json.loads(result.read_text())
        report.tables, report.failures, report.notes = (
            found["tables"], found["failures"], found["notes"]
        )  # fmt: skip
    used = result.with_suffix(".used")
    if used.exists():
        report.used = json.loads(used.read_text())
    if report.verdict != GREEN:
        lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()
        report.last_lines = [line[:300] for line in lines[-TAIL:]]


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
