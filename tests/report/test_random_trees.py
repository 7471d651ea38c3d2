"""Reports of random trees of runs, with holes, against pandas and scipy."""

import csv
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats
from trees import make_run

from alasca_pl.report.grid import build_grid
from alasca_pl.report.output import verify, write_folder
from alasca_pl.report.question import Question
from alasca_pl.report.saved import find_runs
from alasca_pl.report.write_up import write_report

METHODS, ALASCAS, NOISES = ("ce", "gce", "elr"), ("none", "paper"), (("symmetric", 0.5), ("asymmetric", 0.4))
CELLS = [
    (method, alasca, *noise, seed) for method in METHODS for alasca in ALASCAS for noise in NOISES for seed in range(4)
]


def random_tree(start: int, missing: float) -> dict[tuple, list[float]]:
    """Accuracies by cell and epoch; some methods gain, others do not."""
    rng = np.random.default_rng(start)
    gain = {(method, noise): rng.choice([0.0, 0.02, 0.08]) for method in METHODS for noise in NOISES}
    tree = {}
    for method, alasca, *noise, seed in CELLS:
        level = 0.5 + (alasca == "paper") * gain[method, tuple(noise)]
        # Multiples of 1 / 10,000, as accuracies are, so that ties occur.
        accuracies = rng.normal(level, 0.01, 6).round(4).tolist()
        if rng.random() > missing:
            tree[method, alasca, *noise, seed] = accuracies
    return tree


TREES = st.builds(random_tree, st.integers(0, 2**32), st.sampled_from([0.1, 0.6]))
# The same trees in every run. A tree that fails is shown as it is: making it smaller would take minutes.
RANDOM = settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
SELECTIONS = {
    "last": lambda values: values[-1],
    "mean_of_last": lambda values: math.fsum(values[-3:]) / 3,
    "best_test": max,
}


def write_tree(top: Path, tree: dict[tuple, list[float]]) -> None:
    for number, ((method, alasca, kind, rate, seed), accuracies) in enumerate(tree.items()):
        rows = [
            {"epoch": epoch, "step": 10 * (epoch + 1), "test/acc": value, "val/acc": value, "train/loss": 1.0}
            for epoch, value in enumerate(accuracies)
        ]
        make_run(top / f"run{number}", method, alasca, kind, rate, seed, rows=rows)


def frame_of(tree: dict[tuple, list[float]], select: str) -> pd.DataFrame:
    frame = pd.DataFrame(tree.keys(), columns=["method", "alasca", "noise", "rate", "seed"])
    return frame.assign(value=[100 * SELECTIONS[select](values) for values in tree.values()])


def printed(file: Path) -> pd.DataFrame:
    """A table of the report without the package's reader; empty cells are missing values."""
    with file.open(newline="") as lines:
        head, *rows = list(csv.reader(lines))
    return pd.DataFrame(rows, columns=head)


@given(tree=TREES, select=st.sampled_from(sorted(SELECTIONS)))
@RANDOM
def test_cells_are_those_of_pandas(tree, select):
    with tempfile.TemporaryDirectory() as top:
        write_tree(Path(top), tree)
        grid = build_grid(find_runs([top]), Question(select=select))
        groups = frame_of(tree, select).groupby(["method", "alasca", "noise", "rate"])["value"]
        expected = groups.agg(["mean", "std", "count"])
        found = {}
        for row in grid.rows:
            for col in grid.cols:
                if grid.cell(row, col):
                    found[(*row, *col)] = grid.summary(row, col)
        assert set(found) == set(expected.index)
        for label, (mean, std, count) in expected.iterrows():
            assert found[label][0] == pytest.approx(mean, abs=1e-9) and found[label][2] == count
            assert (found[label][1] is None) == math.isnan(std)
            if count > 1:
                assert found[label][1] == pytest.approx(std, abs=1e-9)


@given(tree=TREES)
@RANDOM
def test_gains_are_those_of_pandas_and_scipy(tree):
    with tempfile.TemporaryDirectory() as top:
        write_tree(Path(top) / "runs", tree)
        question = Question(select="last")
        found = find_runs([top])
        write_folder(Path(top) / "report", write_report(found, question, pictures=False), question, [top], found)
        assert verify(Path(top) / "report") == []
        wide = frame_of(tree, "last").pivot_table(
            index=["method", "noise", "rate", "seed"], columns="alasca", values="value"
        )
        both = wide.dropna() if {"none", "paper"} <= set(wide.columns) else wide.iloc[:0]
        file = Path(top) / "report" / "gains.csv"
        lines = printed(file) if file.is_file() else pd.DataFrame()
        gains = {(line.row, line.column): line for line in lines.itertuples() if line.n != "0"}
        expected = {
            (f"{method}, paper", f"{noise}, {rate}"): pairs
            for (method, noise, rate), pairs in both.groupby(level=["method", "noise", "rate"])
        }
        assert set(gains) == set(expected)
        tests = {}
        for label, pairs in expected.items():
            its, differences = gains[label], pairs["paper"] - pairs["none"]
            assert int(its.n) == len(pairs)
            assert float(its.difference) == pytest.approx(differences.mean(), abs=1e-9)
            if len(pairs) > 1 and differences.std() > 1e-9:
                test = stats.ttest_rel(pairs["paper"], pairs["none"])
                # Two pairs decide nothing and take no part in the correction.
                tests |= {label: test.pvalue} if len(pairs) > 2 else {}
                assert float(its.p) == pytest.approx(test.pvalue, rel=1e-6)
                low, high = test.confidence_interval(0.95)
                assert (float(its.low), float(its.high)) == pytest.approx((low, high), rel=1e-6)
        # Holm's: the k-th smallest of m p-values times m - k + 1, never below the one before.
        highest = 0.0
        for rank, (label, p) in enumerate(sorted(tests.items(), key=lambda item: item[1])):
            highest = max(highest, min(1.0, (len(tests) - rank) * p))
            assert float(gains[label].p_holm) == pytest.approx(highest, rel=1e-6)
