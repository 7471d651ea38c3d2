"""Hostile files at random are used or refused in one line, and run or write nothing; see ``tests/tools/break_it.py``."""

import pytest

from hostile_files import KINDS, run_files
from outcomes import table, warm_up
from running import FULL_STORMS


@pytest.fixture(scope="module", autouse=True)
def loaded():
    warm_up()


def test_a_few_files(tmp_path):
    outcomes, wrong = run_files(tmp_path, range(2 * len(KINDS)))
    assert not wrong, table(outcomes, wrong)


@pytest.mark.slow
def test_many_files(tmp_path):
    outcomes, wrong = run_files(tmp_path, range(100, 200 if FULL_STORMS else 150))
    assert not wrong, table(outcomes, wrong)
