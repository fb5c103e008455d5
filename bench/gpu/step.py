"""What a step of the GPU check is given, and what it leaves behind."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args

from bench.gpu.sizes import ON_CPU_BESIDE, Sizes

if TYPE_CHECKING:
    from assets.methods.common.devices import Precision

T = TypeVar("T")

Cell = str | int | float | bool | None


@dataclass
class Findings:
    """Tables, sentences on what failed, and notes; the file is written anew with each of them.

    A step that is killed has so left what it had found.

    Attributes:
        path: the JSON file.
        tables: rows by the table's title; a row maps columns to cells.
        failures: sentences; with none of them the step is green.
        notes: what a reader has to know, such as what was left out.
    """

    path: Path
    tables: dict[str, list[dict[str, Cell]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, table: str, **cells: Cell) -> None:
        """Add a row to a table; in a column's name `_` stands for a blank."""
        named = {name.replace("_", " "): cell for name, cell in cells.items()}
        self.tables.setdefault(table, []).append(named)
        self._write()

    def fail(self, sentence: str) -> None:
        """Say what failed; the step goes on."""
        self.failures.append(sentence)
        self._write()

    def note(self, sentence: str) -> None:
        """Say what a reader has to know."""
        self.notes.append(sentence)
        self._write()

    def _write(self) -> None:
        found = {"tables": self.tables, "failures": self.failures, "notes": self.notes}
        beside = self.path.with_suffix(".unfinished")
        beside.write_text(json.dumps(found))
        beside.replace(self.path)


@dataclass(frozen=True)
class Context:
    """What a step is given.

    Attributes:
        device: where to compute.
        sizes: how much work it does.
        out: where pictures go.
        folder: a new folder, removed after the step.
        shared: a folder that all steps share.
        findings: where results go.
    """

    device: Literal["cuda", "cpu"]
    sizes: Sizes
    out: Path
    folder: Path
    shared: Path
    findings: Findings

    @property
    def draws(self) -> bool:
        """Whether pictures are of this device: those of the CPU beside a card are not wanted."""
        return self.sizes is not ON_CPU_BESIDE

    @property
    def cores(self) -> int:
        """The number of cores this process may run on."""
        return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Step:
    """A step: its name, a heading, its function in a module of this package, and its limit."""

    name: str
    heading: str
    function: str
    limit_seconds: float


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What a call returned, its seconds, and the MiB that torch held on the card at most.

    The memory is None on the CPU.
    """

    result: T
    seconds: float
    peak_mebibytes: int | None


def measured(device: str, call: Callable[[], T]) -> Measured[T]:
    """Measure a call, with the work that it leaves waiting on the card."""
    import torch

    if device != "cuda":
        started = time.perf_counter()
        result = call()
        return Measured(result, time.perf_counter() - started, None)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    elapsed = time.perf_counter() - started
    return Measured(result, elapsed, round(torch.cuda.max_memory_allocated() / 2**20))


def precisions(device: str) -> "tuple[Precision, ...]":
    """Return the precisions that networks can be run in on a device."""
    from assets.methods.common.devices import Precision

    # The CPU has neither of the two.
    without = () if device == "cuda" else ("float16", "tf32")
    return tuple(one for one in get_args(Precision) if one not in without)
