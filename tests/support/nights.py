"""What the tests of a home of several nights share, and a way to die in the middle of it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

NIGHTS = 3


def image_id(name: str, number: int) -> str:
    """A photo of a collection; those of a night are three, of which the oldest then goes."""
    return f"{name}{number}".encode().hex().ljust(64, "0")


class Killed(BaseException):
    """The process has been killed."""


@contextmanager
def killed_at(step: int, patch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Raise Killed at a change of the disk, counted from 0; yield how many there were."""
    n_steps = 0

    def dies(change: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            nonlocal n_steps
            n_steps += 1
            if n_steps == step + 1:
                raise Killed
            return change(*arguments, **options)

        return counted

    with patch.context() as patched:
        for owner, name in (
            (Path, "unlink"),
            (Path, "rename"),
            (Path, "rmdir"),
            (shutil, "rmtree"),
            (dg.DagsterInstance, "delete_run"),
            (dg.DagsterInstance, "delete_dynamic_partition"),
        ):
            patched.setattr(owner, name, dies(getattr(owner, name)))
        yield lambda: n_steps
