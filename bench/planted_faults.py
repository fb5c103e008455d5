"""Each check's planted fault, by itself: is it found, named, shown and told of, in all three ways?

For each check three new collections are stored, and the value of the second one is given the
fault. It is looked for by `tessera check` of all three, by a run that makes the value, and by
*Execute all* of the asset's tab of checks, pressed without a browser. After each way the fault is
mended, and the same way has to see that. The table says what came of it: the exit code, the cases
of the JUnit file that fail or warn, the status of the runs, the collections that Dagster's page
shows as red or yellow, and how many notices a receiver was sent after each way: of the fault, of
its end, and of anything else.
Run: PYTHONPATH=.:tests python -m bench.planted_faults
"""

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg

from assets.generations import UNPARTITIONED
from orchestration.instance import prepare_home
from support.command_line import run_tessera
from support.faulty_home import CHECKS, FaultyHome, faulty_home, of_collection
from support.stored_values import FAULTS, PlantedFault

OF_MODEL = "the model"
HEAD = (
    "check", "severity", "exit code", "JUnit names", "run", "button", "red or yellow",
    "opened", "over", "others",
)  # fmt: skip
# What checks of an asset compare it with, beside the catalogue.
INPUTS = {
    "tsne_2d": "embeddings",
    "grid_assignment": "embeddings",
    "mosaic": "grid_assignment",
    "nsfw_model": "nsfw_scores",
}


def quiet_tessera(*arguments: str) -> int:
    """Run `tessera` without its output; return its exit code."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return run_tessera(*arguments)


class Trial:
    """One fault, in the second of three collections."""

    def __init__(self, home: FaultyHome, fault: PlantedFault, folder: Path) -> None:
        self.home, self.fault, self.folder = home, fault, folder
        assets = ["raw_images", INPUTS.get(fault.asset, fault.asset), fault.asset]
        self.sound = {asset: home.sound[asset] for asset in dict.fromkeys(assets)}
        self.faulty = {**self.sound, fault.asset: fault.plant(home.sound[fault.asset])}
        self.keys = {
            check.check_key for check in CHECKS if check.check_key.asset_key.path[-1] == fault.asset
        }
        self.names = [f"{name}-{fault.check}" for name in ("anna", "mia", "zoe")]
        self.bad = self.names[1]
        self.is_of_model = fault.asset == "nsfw_model"
        self.notices: dict[str, list[int]] = {"opened": [], "over": [], "others": []}
        self.is_right = True

    def row(self) -> tuple[str, ...]:
        """Go all ways; return the row of the table."""
        for name in self.names:
            self.home.add(name, of_collection(self.sound))
        self.home.told()
        code, named = self._by_command()
        run = self._by_run()
        button, shown = self._by_button()
        is_error = self.fault.severity == "error"
        whose = OF_MODEL if self.is_of_model else "the bad one"
        self._expect(code == int(is_error), self.fault.check in named, shown == {whose})
        self._expect(run == button == ("failed" if is_error else "succeeded"))
        n = int(is_error)
        self._expect(self.notices == {"opened": [n] * 3, "over": [n] * 3, "others": [0] * 6})
        counts = (self.notices["opened"], self.notices["over"], self.notices["others"])
        return (
            f"`{self.fault.check}`",
            self.fault.severity,
            str(code),
            ", ".join(sorted(named)),
            run,
            button,
            ", ".join(sorted(shown)),
            *(", ".join(map(str, one)) for one in counts),
        )

    def _expect(self, *conditions: bool) -> None:
        self.is_right &= all(conditions)

    def _store(self, values: dict[str, Any]) -> None:
        if self.is_of_model:
            self.home.store(UNPARTITIONED, {"nsfw_model": values["nsfw_model"]})
        self.home.store(self.bad, of_collection(values))

    def _note(self, event: str) -> None:
        owner = None if self.is_of_model else self.bad
        told = self.home.told()
        n_right = told.count((event, owner, self.fault.check))
        self.notices[event].append(n_right)
        self.notices["others"].append(len(told) - n_right)

    def _by_command(self) -> tuple[int, set[str]]:
        self._store(self.faulty)
        junit = self.folder / "checks.xml"
        code = quiet_tessera("check", *self.names, "--junit", str(junit))
        self._note("opened")
        suites = {str(suite.get("name")): suite for suite in ElementTree.parse(junit).getroot()}
        named = {
            name: {str(case.get("name")) for case in suite if len(case) > 0}
            for name, suite in suites.items()
        }
        # A model is judged wherever it is used.
        good = named[self.bad] if self.is_of_model else set[str]()
        self._expect(*(named[name] == good for name in self.names if name != self.bad))
        self._store(self.sound)
        self._expect(quiet_tessera("check", *self.names) == 0)
        self._note("over")
        return code, named[self.bad]

    def _by_run(self) -> str:
        result = self.home.run(self.bad, self.faulty)
        self._note("opened")
        self._expect(self.home.run(self.bad, self.sound).success)
        self._note("over")
        return _in_words(result)

    def _by_button(self) -> tuple[str, set[str]]:
        self._store(self.faulty)
        result = self.home.press_button(self.keys)
        self._note("opened")
        found = self.home.evaluated(result)
        words = {self.bad: "the bad one", "None": OF_MODEL}
        shown = {words.get(name, name) for (name, _), one in found.items() if not one.passed}
        self._store(self.sound)
        self._expect(self.home.press_button(self.keys).success)
        self._note("over")
        return _in_words(result), shown


def _in_words(result: dg.ExecuteInProcessResult) -> str:
    return "succeeded" if result.success else "failed"


def main() -> int:
    """Print the table; end with 1 if a row is not as it should be."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="*", help="These checks alone.")
    only = parser.parse_args().only
    logging.disable(logging.CRITICAL)
    is_right = True
    with tempfile.TemporaryDirectory() as place:
        os.environ["TESSERA_HOME"] = str(Path(place, "home"))
        home = prepare_home()
        champion, reports = Path(place, "champion"), Path(place, "reports")
        champion.mkdir()
        reports.mkdir()
        with faulty_home(home, champion) as made:
            print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|", flush=True)
            for fault in FAULTS:
                if only and fault.check not in only:
                    continue
                trial = Trial(made, fault, reports)
                row = trial.row()
                is_right &= trial.is_right
                print(f"| {' | '.join(row)} |{'' if trial.is_right else ' WRONG'}", flush=True)
    print(f"All as it should be: {is_right}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
