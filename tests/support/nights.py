"""What the tests of a home of several nights share, and a way to die in the middle of it."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

NIGHTS = 3
# Of the changes of the disk, those by which a removal may be cut in two.
_TABLES = ("event_logs", "asset_check_executions", "dynamic_partitions", "runs", "metrics")
_KINDS = ("unlink", "rename", "rmtree", *(f"DELETE FROM {table}" for table in _TABLES))


def image_id(name: str, number: int) -> str:
    """A photo of a collection; those of a night are three, of which the oldest then goes."""
    return f"{name}{number}".encode().hex().ljust(64, "0")


class Killed(BaseException):
    """The process has been killed."""


@contextmanager
def killed_at(step: int, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Raise Killed at a change of the disk, counted from 0; yield what each of them was.

    A change is a removed or renamed file or folder, or a statement that deletes rows.
    """
    steps: list[str] = []

    def count(what: str) -> None:
        steps.append(what)
        if len(steps) == step + 1:
            raise Killed

    def dies(name: str, change: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            count(name)
            return change(*arguments, **options)

        return counted

    def look(statement: str) -> None:
        if statement.startswith("DELETE"):
            count(" ".join(statement.split()[:3]))

    class Dying(sqlite3.Connection):
        def execute(self, statement, *rows):
            look(statement)
            return super().execute(statement, *rows)

        def executemany(self, statement, *rows):
            look(statement)
            return super().executemany(statement, *rows)

    def before(connection, cursor, statement, *others):
        look(statement)

    event.listen(Engine, "before_cursor_execute", before)
    with patch.context() as patched:
        for owner, name in (
            (Path, "unlink"),
            (Path, "rename"),
            (Path, "rmdir"),
            (shutil, "rmtree"),
        ):
            patched.setattr(owner, name, dies(name, getattr(owner, name)))
        patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Dying))
        try:
            yield steps
        finally:
            event.remove(Engine, "before_cursor_execute", before)


def one_of_each(steps: list[str]) -> list[int]:
    """Return, of each kind of change, the number of the one in the middle."""
    numbers = [[number for number, one in enumerate(steps) if one == kind] for kind in _KINDS]
    return [of_kind[len(of_kind) // 2] for of_kind in numbers if of_kind]
