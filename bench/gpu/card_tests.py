"""The step that runs the tests marked `cuda`."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from bench.gpu.step import Context

LONGEST_MESSAGE = 600
# Other plugins that the machine may have could change what the tests do.
PLUGINS = ("xdist.plugin", "pytest_timeout", "_hypothesis_pytestplugin", "no:cacheprovider")


def run_tests(context: Context) -> None:
    """Run the tests marked `cuda`, on the CPU in a rehearsal, and name those that fail."""
    report = context.folder / "tests.xml"
    command = [
        sys.executable, "-m", "pytest", "-m", "cuda", *_files(), "-q",
        *(f"-p{plugin}" for plugin in PLUGINS), "--timeout=90", f"--junitxml={report}",
        # The machine's packages are not those that are pinned: what they warn of is no failure.
        "-W", "default",
    ]  # fmt: skip
    if context.sizes.test_workers:
        command += ["-n", str(context.sizes.test_workers)]
    environment = {
        **os.environ,
        "TESSERA_TEST_DEVICE": context.device,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    ended = subprocess.run(command, env=environment)
    if not report.exists():
        context.findings.fail(f"pytest ended with {ended.returncode} and without a report.")
        return
    passed = _read(report, context)
    if ended.returncode not in (0, 1):
        context.findings.fail(f"pytest ended with {ended.returncode}.")
    if context.device == "cuda" and not passed:
        context.findings.fail("No test ran on the card.")


def _files() -> list[str]:
    """Return the files that have such tests: others may import what the machine lacks."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(file) for file in files if re.search(r"needs_card|mark\.cuda", file.read_text())]


def _read(report: Path, context: Context) -> int:
    """Take the results over; return how many tests passed."""
    outcomes: dict[str, Counter[str]] = {}
    skipped: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "")
        outcome, message = "passed", ""
        for kind in ("failure", "error", "skipped"):
            element = case.find(kind)
            if element is not None:
                outcome = "skipped" if kind == "skipped" else "failed"
                message = element.get("message") or element.text or ""
        outcomes.setdefault(file, Counter())[outcome] += 1
        outcomes[file]["milliseconds"] += round(1000 * float(case.get("time", 0)))
        if outcome == "failed":
            context.findings.fail(f"{file}::{case.get('name')}: {message[:LONGEST_MESSAGE]}")
        if outcome == "skipped":
            skipped[message] += 1
    for file, counts in sorted(outcomes.items()):
        context.findings.row(
            "Tests marked cuda",
            file=file.replace(".", "/"),
            passed=counts["passed"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            seconds=counts["milliseconds"] / 1000,
        )
    for reason, n in skipped.items():
        context.findings.note(f"{n} skipped: {reason}")
    return sum(counts["passed"] for counts in outcomes.values())
