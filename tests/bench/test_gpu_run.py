"""The check of a machine with a card, rehearsed on the CPU."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gpu.report import FAILED, GREEN, NOT_RUN, TIMED_OUT, Report, StepReport
from bench.gpu.run import STEPS, chosen_steps, run_steps
from bench.gpu.step import Findings, Step

DESCRIBE = "machine:describe"
CHECKOUT = Path(__file__).parents[2]


def rehearse(out: Path, *options: str) -> dict:
    """Rehearse in a process, and return gpu.json."""
    command = [sys.executable, "-m", "bench.gpu.run", str(out), "--device", "cpu", *options]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    return json.loads((out / "gpu.json").read_text())


def all_green(report: dict) -> bool:
    return report["all_green"] and {step["verdict"] for step in report["steps"]} == {GREEN}


def can_be_carried(out: Path) -> bool:
    """At most eight files of less than 16 MB, with plain names, in no folder."""
    files = list(out.iterdir())
    plain = all(re.fullmatch(r"[A-Za-z0-9._-]+", file.name) for file in files)
    return plain and len(files) <= 8 and all(file.stat().st_size < 16e6 for file in files)


@pytest.mark.process
def test_a_rehearsal_of_what_starts_no_command_is_green(tmp_path):
    report = rehearse(tmp_path / "out", "--steps", "machine,training")
    assert all_green(report)
    assert [step["name"] for step in report["steps"]] == ["machine", "training"]
    assert can_be_carried(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(1200)
def test_a_rehearsal_of_everything_is_green(tmp_path):
    out = tmp_path / "out"
    report = rehearse(out)
    assert all_green(report)
    assert [step["name"] for step in report["steps"]] == [step.name for step in STEPS]
    networks = report["steps"][[step.name for step in STEPS].index("networks")]
    rows = networks["tables"]["Networks, images a second"]
    assert [row["precision"] for row in rows] == ["float32", "bfloat16"]
    assert all(row["embedded"] > 0 and row["scored"] > 0 for row in rows)
    written = {"gpu.json", "gpu.md", "mosaic.jpg", "explain.png", "occlusion.png", "tsne.png"}
    assert {file.name for file in out.iterdir()} == written
    assert can_be_carried(out)


@pytest.mark.process
def test_the_step_after_one_that_fails_or_takes_too_long_runs(tmp_path):
    steps = [
        Step("absent", "Absent", "no_such_module:run", 60),
        Step("slow", "Slow", DESCRIBE, 0.01),
        Step("machine", "The machine", DESCRIBE, 60),
    ]
    deadline = time.monotonic() + 200
    out, folder = tmp_path / "out", tmp_path / "folder"
    out.mkdir()
    folder.mkdir()
    report = run_steps(steps, "cpu", out, folder, folder / "site", deadline)
    assert [step.verdict for step in report.steps] == [FAILED, TIMED_OUT, GREEN]
    assert not report.all_green
    assert "no_such_module" in report.steps[0].failures[0]
    assert "ModuleNotFoundError" in "\n".join(report.steps[0].last_lines)
    assert report.steps[2].tables["Machine"]
    assert "1 of 3 steps green" in (out / "gpu.md").read_text()


def test_without_time_a_step_is_not_run_and_the_report_is_written(tmp_path):
    report = run_steps(list(STEPS), "cpu", tmp_path, tmp_path, tmp_path / "site", time.monotonic())
    assert {step.verdict for step in report.steps} == {NOT_RUN}
    assert not json.loads((tmp_path / "gpu.json").read_text())["all_green"]


def test_only_a_card_is_compared_with_the_cpu_beside_it():
    names = [step.name for step in chosen_steps("cuda", None)]
    assert names[: len(STEPS)] == [step.name for step in STEPS]
    assert names[len(STEPS) :] == ["networks-cpu", "occlusion-cpu", "tsne-cpu", "training-cpu"]
    assert chosen_steps("cpu", None) == list(STEPS)


def test_a_step_that_is_not_there_is_refused():
    with pytest.raises(SystemExit, match="There is no step moon: choose of machine, tests"):
        chosen_steps("cpu", "machine,moon")


def test_what_a_killed_step_had_found_is_in_its_file(tmp_path):
    findings = Findings(tmp_path / "found.json")
    findings.row("Speeds", images_a_second=3.5)
    findings.fail("It was slow.")
    assert json.loads(findings.path.read_text()) == {
        "tables": {"Speeds": [{"images a second": 3.5}]},
        "failures": ["It was slow."],
        "notes": [],
    }


def test_the_report_for_people():
    step = StepReport(
        "speed",
        "Speed",
        "cuda",
        60,
        FAILED,
        12.3,
        {"gpu_percent_mean": 41, "gpu_percent_max": 99, "gpu_mib_max": 2048},
        {
            "Machine": [{"what": "card, name", "value": "A card"}],
            "Rates": [
                {
                    "precision": "float32",
                    "batch": 64,
                    "rate": 1234.5,
                    "cosine": 0.99999,
                    "none": None,
                },
                {"precision": "a|b", "batch": 1024, "rate": 7.0, "cosine": 2e-6, "none": None},
            ],
        },
        ["It was\nslow."],
        last_lines=["the end"],
    )
    text = Report("2026-11-28 05:00 UTC", "cuda", {}, [step], 12.3).markdown()
    assert "- card, name: A card" in text
    assert "| Speed | **failed** | 12 | 60 | 41 | 99 | 2,048 |" in text
    assert "| precision | batch | rate | cosine |\n| --- | --: | --: | --: |" in text
    assert "| float32 | 64 | 1,234 | 0.99999 |\n| a\\|b | 1,024 | 7 | 2.0e-06 |" in text
    assert "- It was slow." in text
    assert "```\nthe end\n```" in text
