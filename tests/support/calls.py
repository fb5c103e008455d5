"""Counting calls of functions, wherever they were imported to."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest


def count_calls(monkeypatch: pytest.MonkeyPatch, *functions: Callable[..., Any]) -> Counter[str]:
    """Return the number of calls of functions from now on, by their names."""
    counts: Counter[str] = Counter()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counts[function.__name__] += 1
            return function(*arguments, **named)

        return call

    for function in functions:
        wrapped = counted(function)
        for module in list(sys.modules.values()):
            # What is forbidden to import has None there, and some libraries put objects there.
            if getattr(module, "__dict__", {}).get(function.__name__) is function:
                monkeypatch.setattr(module, function.__name__, wrapped)
    return counts
