"""A few of the kills that `python -m bench.kills` counts."""

import pytest

from bench.kills.__main__ import main


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_is_mended_by_the_next(capsys):
    counts = {"first": 3, "aimed": 1, "later": 2}
    counts |= dict.fromkeys(("gc", "remove", "purge", "backup", "restore"), 2)
    code = main([part for name, count in counts.items() for part in (f"--{name}", str(count))])
    printed = capsys.readouterr().out
    assert code == 0, printed
    # An aimed kill for each of three databases.
    assert printed.count(": mended") == len(counts) + 2
