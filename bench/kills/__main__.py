"""Commands that are killed at random moments, or run out of disk: does a repeat mend everything?

Each option is a number of trials. `first` kills the first run of a home, `later` one that maps a
few photos more, `demo` the demo, and `aimed` a first run while a database is being made, so many
times for each database. `disk` gives the home too small a disk, in sizes from nothing to nearly
enough, and then more; it needs the right to mount a tmpfs. After each, the same command is run
again. It has to give the bytes of a run that nobody disturbed, and to leave no run at work in
Dagster or MLflow and no unfinished file.

`gc`, `remove`, `purge` (`remove --purge --mlflow`), `backup` and `restore` kill these commands on a
home with two collections of several nights. After a repeat the files of the home and the rows of
all its databases have to be those of a home where nobody disturbed the command. A backup file has
to be whole or absent at any time, and a home that is half restored has to be refused by others.
Run: python -m bench.kills --first 20 --later 10 --aimed 10 --disk 5 --gc 50 --restore 50
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.kills import keeping, mapping
from bench.kills.tally import Tally


def main(arguments: list[str] | None = None) -> int:
    """Print what was mended, and end with 1 if something was not."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    for name in (*mapping.TRIALS, *keeping.COMMANDS):
        parser.add_argument(f"--{name}", type=int, default=0, help="Number of trials.")
    parser.add_argument("--seed", type=int, default=0)
    counts = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tally = Tally(counts.seed)
        if any(getattr(counts, name) for name in mapping.TRIALS):
            mapping.run(mapping.Bench(Path(folder), tally), counts)
        wanted = {name: getattr(counts, name) for name in keeping.COMMANDS}
        if any(wanted.values()):
            keeping.run(Path(folder, "kept"), wanted, tally)
    print(json.dumps(dict(sorted(tally.outcomes.items())), indent=2))
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
