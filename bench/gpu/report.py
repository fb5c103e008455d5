"""What the GPU check found, as gpu.json for programs and gpu.md for people."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.step import Cell

GREEN, FAILED, TIMED_OUT, NOT_RUN = "green", "failed", "over its time limit", "not run"
VERSIONS, MACHINE = "Versions", "Machine"
NOTHING = "-"


@dataclass
class StepReport:
    """A step that was run, or that there was no time for.

    Attributes:
        name, heading, device, limit_seconds: of the step.
        verdict: one of the four above.
        seconds: that it took.
        used: how busy the card was, by nvidia-smi.
        tables, failures, notes: as for ``Findings``.
        last_lines: of its output, if it is not green.
    """

    name: str
    heading: str
    device: str
    limit_seconds: float
    verdict: str = NOT_RUN
    seconds: float = 0.0
    used: dict[str, Cell] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Cell]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The steps so far, and what they ran on."""

    date: str
    device: str
    sizes: dict[str, Any]
    steps: list[StepReport]
    seconds: float = 0.0

    @property
    def all_green(self) -> bool:
        """Whether every step is green."""
        return all(step.verdict == GREEN for step in self.steps)

    def write(self, out: Path) -> None:
        """Write gpu.json and gpu.md."""
        found = {"all_green": self.all_green, **asdict(self)}
        (out / "gpu.json").write_text(json.dumps(found, indent=1))
        (out / "gpu.md").write_text(self.markdown())

    def markdown(self) -> str:
        """Return the report for a person: verdicts first, then each step's tables."""
        n_green = sum(step.verdict == GREEN for step in self.steps)
        machine = self._machine()
        what = "on the card" if self.device == "cuda" else "rehearsal on the CPU, with small sizes"
        lines = [
            f"# GPU check: {what}",
            "",
            f"{self.date}. {n_green} of {len(self.steps)} steps green, in {self.seconds:.0f} s.",
            "",
            *(f"- {what}: {_shown(value)}" for what, value in machine.items()),
            "",
            *_table([_summary(step) for step in self.steps]),
        ]
        for step in self.steps:
            if step.verdict != NOT_RUN:
                lines += ["", *section(step)]
        return "\n".join([*lines, ""])

    def _machine(self) -> dict[str, Cell]:
        rows = [row for step in self.steps for row in step.tables.get(MACHINE, [])]
        return {str(row["what"]): row["value"] for row in rows}


def section(step: StepReport) -> list[str]:
    """Return the lines of a step: what failed first, then its tables and notes."""
    lines = [f"## {step.heading}", ""]
    if step.verdict != GREEN:
        lines += [f"**{step.verdict}** after {step.seconds:.0f} s.", ""]
    lines += [f"- {' '.join(failure.split())}" for failure in step.failures]
    if step.failures:
        lines.append("")
    for title, rows in step.tables.items():
        if title == VERSIONS:
            lines += [*_versions(rows), ""]
        elif title != MACHINE:
            lines += [f"{title}:", "", *_table(rows), ""]
    for note in step.notes:
        lines += [note, ""]
    if step.last_lines:
        lines += ["Last lines of its output:", "", "```", *step.last_lines, "```", ""]
    return lines[:-1] if lines[-1] == "" else lines


def _summary(step: StepReport) -> dict[str, Cell]:
    ran = step.verdict != NOT_RUN
    return {
        "step": step.heading,
        "verdict": step.verdict if step.verdict == GREEN else f"**{step.verdict}**",
        "seconds": round(step.seconds) if ran else None,
        "limit": round(step.limit_seconds),
        "GPU % mean": step.used.get("gpu_percent_mean"),
        "GPU % max": step.used.get("gpu_percent_max"),
        "GPU MiB max": step.used.get("gpu_mib_max"),
    }


def _versions(rows: list[dict[str, Cell]]) -> list[str]:
    others = [
        f"{row['package']} {row['version'] or 'is missing'} ({row['asked for']})"
        for row in rows
        if not row["fits"]
    ]
    fitting = [f"{row['package']} {row['version']}" for row in rows if row["fits"]]
    lines = [f"Versions as pyproject.toml asks for them: {', '.join(fitting)}."]
    if others:
        lines += ["", f"Other versions than it asks for: {', '.join(others)}."]
    return lines


def _table(rows: list[dict[str, Cell]]) -> list[str]:
    """Return rows as a table of Markdown; columns without a value in any row are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns = {
        name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)
    }
    marks = ["--:" if _is_numeric(cells) else "---" for cells in columns.values()]
    shown = zip(*(_column(cells) for cells in columns.values()), strict=True)
    return [
        f"| {' | '.join(columns)} |",
        f"| {' | '.join(marks)} |",
        *(f"| {' | '.join(row)} |" for row in shown),
    ]


def _is_numeric(cells: list[Cell]) -> bool:
    return all(isinstance(cell, (int, float, type(None))) for cell in cells)


def _column(cells: list[Cell]) -> list[str]:
    """Write the cells of a column, with as many decimals as its largest number needs."""
    largest = max((abs(cell) for cell in cells if isinstance(cell, float)), default=0.0)
    decimals = 0 if largest >= 100 else 1 if largest >= 20 else 2 if largest > 2 else 6
    return [_shown(cell, decimals) for cell in cells]


def _shown(cell: Cell, decimals: int = 2) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    if cell and decimals == 6:
        # Shares near one keep the digits that tell them from it, small changes their size.
        return f"{cell:.1e}" if abs(cell) < 1e-3 else f"{cell:.6f}".rstrip("0").rstrip(".")
    return f"{cell:,.{decimals}f}" if cell else "0"
