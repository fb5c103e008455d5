"""A few of the kills that `bench/kills.py` counts."""

import pytest

from bench import kills


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_is_mended_by_the_next(capsys):
    code = kills.main(["--first", "3", "--aimed", "1", "--later", "2"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.count(": mended") == 3
