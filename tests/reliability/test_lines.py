"""Command lines at random train, or are refused in one line before anything is written; see ``tests/tools/break_it.py``."""

import pytest

from lines import run_lines
from outcomes import table, warm_up
from running import FULL_STORMS

# Lines that once ended in a traceback, trained on nonsense or were refused without a name, then a few others.
FOUND = (2, 28, 36, 47, 56, 87, 108, 125, 145, 148, 210, 222)
FEW = (0, 5)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    warm_up()


def test_a_few_lines(tmp_path):
    outcomes, wrong = run_lines(tmp_path, (*FOUND, *FEW))
    assert not wrong, table(outcomes, wrong)


@pytest.mark.slow
def test_many_lines(tmp_path):
    outcomes, wrong = run_lines(tmp_path, range(1000, 1150 if FULL_STORMS else 1060))
    assert not wrong, table(outcomes, wrong)
