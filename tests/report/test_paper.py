"""The paper's numbers beside ours."""

import hashlib
from pathlib import Path

import pytest
from trees import make_run

from alasca_pl.report.paper import FILE, paper_number, paper_numbers
from alasca_pl.report.saved import find_runs


def number(
    tmp_path: Path, method: str, alasca: str, kind: str, rate: float, rule: str | None = None, data: str = "cifar10"
):
    choices = {"method": method, "alasca": alasca, "noise": kind, "data": data}
    make_run(tmp_path / "a", "ce", alasca, kind, rate, choices=choices)
    found = paper_number(find_runs([tmp_path / "a"]).runs[0], rule)
    return found and (found.table, found.method, found.mean, found.std)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (("ce", "none", "symmetric", 0.5), (1, "Standard", 78.2, 0.8)),
        (("ce", "paper", "symmetric", 0.5), (1, "Standard+ALASCA", 88.0, 0.3)),
        (("ce", "short", "instance", 0.4), (1, "Standard+ALASCA", 81.4, 0.3)),
        (("ce", "paper", "symmetric", 0.5, "main"), (1, "Standard+ALASCA", 88.0, 0.3)),
        (("ce", "paper", "symmetric", 0.5, "ensemble_all"), (4, "ALASCA*", 89.1, 0.4)),
        (("ce", "paper", "asymmetric", 0.4, "main_last"), None),
        (("co_teaching", "paper", "asymmetric", 0.4), (1, "Co-teaching+ALASCA", 91.2, 0.1)),
        (("co_teaching", "paper", "asymmetric", 0.4, "ensemble_all"), None),
        (("elr", "none", "asymmetric_paper", 0.4), (1, "ELR", 90.1, 0.5)),
        (("fine", "none", "symmetric", 0.2, None, "cifar100"), (1, "FINE", 70.3, 0.2)),
        (("uls", "none", "symmetric", 0.5), (4, "ULS", 69.5, 1.1)),
        (("ce", "uls", "symmetric", 0.5), (4, "ULS+AC", 84.7, 0.2)),
        (("als_ema", "none", "instance", 0.4), (4, "ALS+EMA", 75.1, 2.1)),
        (("ce", "als", "asymmetric", 0.4), (4, "ALS+AC", 90.0, 0.3)),
        (("elr", "als", "asymmetric", 0.4), None),
        (("elr_plus", "paper", "none", None, None, "clothing1m"), (2, "ELR++ALASCA", 74.92, None)),
        (("ce", "paper", "none", None, None, "clothing1m"), (2, "ALASCA", 73.78, None)),
        (("ce", "none", "symmetric", 0.4), None),
        (("ce", "none", "symmetric", 0.5, None, "digits"), None),
        (("own", "none", "symmetric", 0.5), None),
    ],
)
def test_cells_of_the_paper(tmp_path, cell, expected):
    if cell[3] is None:
        method, alasca, kind, _, rule, data = cell
        choices = {"method": method, "alasca": alasca, "noise": kind, "data": data}
        make_run(tmp_path / "a", "ce", alasca, config={"noise": {"_target_": "none"}}, choices=choices)
        found = paper_number(find_runs([tmp_path / "a"]).runs[0], rule)
        assert (found.table, found.method, found.mean, found.std) == expected
    else:
        assert number(tmp_path, *cell) == expected


def test_all_accuracies_of_the_paper_are_there_and_unchanged():
    # 112 cells of Table 1, 10 of Table 2, 18 of Table 3, 21 of Table 4.
    tables = [key[0] for key in paper_numbers()]
    assert [tables.count(table) for table in (1, 2, 3, 4)] == [112, 10, 18, 21]
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == DIGEST


DIGEST = "1bd9e419bd2f592a6c0a391abae991a905fecaf02217f5821bb06ecfc87f46ae"
