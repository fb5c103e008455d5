"""Progress in a terminal: a bar with the time left for each long step."""

import logging

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from assets.methods.common.progress import Progress as Listener
from assets.methods.common.shown_text import printable, shown
from assets.resources.progress import LogProgress


class TerminalProgress:
    """Draws a bar for each step, and writes the run's log as well."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            # Names of files are data, whatever brackets are in them.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def notify(self, sentence: str) -> None:
        """Write a sentence above the bars, without brackets being taken for markup."""
        self.bars.console.print(shown(sentence), markup=False, highlight=False, soft_wrap=True)

    def listener(self, log: logging.Logger, step: str, unit: str) -> Listener:
        """Return a listener that moves a bar; it appears with the first report."""
        lines = LogProgress().listener(log, step, unit)
        bar = None

        def listen(done: int, total: int) -> None:
            nonlocal bar
            lines(done, total)
            if bar is None:
                bar = self.bars.add_task(f"{printable(step):<16}", total=total, unit=unit)
            self.bars.update(bar, completed=done, total=total)

        return listen
