"""Fixtures that the tests of several methods share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

# With --import-mode=importlib the folder of a test is not importable by itself.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An fsspec store in memory, empty before and after."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
