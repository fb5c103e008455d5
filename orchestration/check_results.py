"""The results of checks for other programs: as JSON, and as JUnit's XML, which CI services read."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import dagster as dg

from assets import DISTRIBUTION
from assets.methods.common.shown_text import shown

SEVERITIES = ("error", "warn")
# What XML 1.0 cannot hold, even as an escape.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: ``severity`` is error or warn, and says how bad a failure is."""

    asset: str
    check: str
    passed: bool
    severity: str
    description: str
    seconds: float
    numbers: dict[str, float]

    @classmethod
    def of(cls, evaluation: dg.AssetCheckEvaluation, seconds: float) -> "CheckResult":
        """Return what an evaluation says."""
        values = {name: one.value for name, one in evaluation.metadata.items()}
        return cls(
            evaluation.asset_key.to_user_string(),
            evaluation.check_name,
            evaluation.passed,
            evaluation.severity.value.lower(),
            shown(evaluation.description or ""),
            seconds,
            {name: value for name, value in values.items() if isinstance(value, int | float)},
        )

    def fails(self, fail_on: str) -> bool:
        """Whether the result is a failure, if ``fail_on`` is the least severity that counts."""
        return not self.passed and SEVERITIES.index(self.severity) <= SEVERITIES.index(fail_on)


@dataclass(frozen=True)
class CheckedCollection:
    """The results of a collection; ``error`` says why there are none, or not all."""

    name: str
    results: Sequence[CheckResult]
    run_id: str | None = None
    error: str | None = None

    def fails(self, fail_on: str) -> bool:
        """Whether something is wrong, as in ``CheckResult.fails``."""
        return self.error is not None or any(one.fails(fail_on) for one in self.results)


def as_json(collections: Sequence[CheckedCollection], fail_on: str) -> bytes:
    """Return all results as a JSON document."""
    document: dict[str, Any] = {
        "passed": not any(one.fails(fail_on) for one in collections),
        "fail_on": fail_on,
        "collections": [
            {
                "name": one.name,
                "passed": not one.fails(fail_on),
                "error": one.error,
                "dagster_run": one.run_id,
                "checks": [vars(result) for result in one.results],
            }
            for one in collections
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def as_junit(collections: Sequence[CheckedCollection], fail_on: str) -> bytes:
    """Return all results as JUnit's XML: a suite a collection, a test case a check.

    JUnit knows no warnings: a failure below ``fail_on`` is a case that passes with a message.
    """
    root = ElementTree.Element("testsuites", name=DISTRIBUTION)
    for collection in collections:
        _add_suite(root, collection, fail_on)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _add_suite(root: ElementTree.Element, collection: CheckedCollection, fail_on: str) -> None:
    n_failed = sum(result.fails(fail_on) for result in collection.results)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=collection.name,
        tests=str(len(collection.results) + (collection.error is not None)),
        failures=str(n_failed),
        errors=str(int(collection.error is not None)),
        time=f"{sum(result.seconds for result in collection.results):.2f}",
    )
    for result in collection.results:
        case = _add_case(suite, f"{collection.name}.{result.asset}", result.check, result.seconds)
        if result.fails(fail_on):
            _add_note(case, "failure", result.description, result.severity)
        elif not result.passed:
            told = ElementTree.SubElement(case, "system-out")
            told.text = _xml_text(f"{result.severity}: {result.description}")
    if collection.error is not None:
        case = _add_case(suite, collection.name, "checks are evaluated", 0)
        _add_note(case, "error", collection.error, "error")


def _add_case(
    suite: ElementTree.Element, class_name: str, name: str, seconds: float
) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=class_name, name=name, time=f"{seconds:.2f}"
    )


def _add_note(case: ElementTree.Element, kind: str, message: str, severity: str) -> None:
    text = _xml_text(message)
    ElementTree.SubElement(case, kind, message=text, type=severity).text = text


def _xml_text(text: str) -> str:
    return _NOT_IN_XML.sub("?", text)
