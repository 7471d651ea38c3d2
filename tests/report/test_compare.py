"""Paired gains against scipy, and comparisons that may not be made."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_grid import expected_figure
from trees import make_run, make_tree

from alasca_pl.core.errors import UserError
from alasca_pl.core.record import NoiseRecord
from alasca_pl.report.compare import against_one, certify, claim, gains, overall_gains
from alasca_pl.report.costs import costs
from alasca_pl.report.grid import build_grid
from alasca_pl.report.question import Question
from alasca_pl.report.saved import SavedRun, find_runs

BOTH = [("asymmetric", 0.4), ("symmetric", 0.5)]


def grid_of(folder: Path, **question):
    return build_grid(find_runs([folder]), Question(**question))


def figures(folder: Path, pattern: str) -> np.ndarray:
    folders = sorted(folder.glob(pattern))
    return 100 * np.array([expected_figure(each, "test/acc", "mean_of_last") for each in folders])


@pytest.mark.parametrize("start", range(3))
def test_gains_are_those_of_a_paired_t_test_with_holm(tmp_path, start):
    make_tree(tmp_path, seeds=range(4), start=start)
    found = gains(grid_of(tmp_path))
    assert [(its.row[0], its.col[0]) for its in found] == [(m, n) for m in ("ce", "elr") for n, _ in BOTH]
    tests = []
    for its in found:
        ends = f"{its.col[0]}*"
        with_it, without = (figures(tmp_path, f"{its.row[0]}_{name}_{ends}") for name in ("paper", "none"))
        expected = stats.ttest_rel(with_it, without)
        assert its.result.p == pytest.approx(expected.pvalue)
        assert (its.result.low, its.result.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert its.is_certified and its.seeds == (0, 1, 2, 3)
        tests.append(expected.pvalue)
    # The largest of the scaled p-values so far.
    order = np.argsort(tests)
    scaled = np.maximum.accumulate([min(1.0, (len(tests) - rank) * tests[place]) for rank, place in enumerate(order)])
    assert [found[place].adjusted for place in order] == pytest.approx(scaled.tolist())


def test_what_matters_little_in_percent_matters_in_a_fraction(tmp_path):
    # Gains of F1 by 0.00, 0.05 and 0.10: an interval that 1 lies far above says nothing.
    for seed, gain in enumerate((0.0, 0.05, 0.10)):
        for alasca, value in (("none", 0.4), ("paper", 0.4 + gain)):
            rows = [{"epoch": 0, "step": 10, "test/acc": 0.5, "val/acc": 0.5, "select/f1": value}]
            make_run(tmp_path / f"{alasca}_{seed}", alasca=alasca, seed=seed, rows=rows)
    (its,) = gains(grid_of(tmp_path, metric="select/f1"))
    assert its.result.high < 1 and its.verdict == "undecided"
    (its,) = gains(grid_of(tmp_path, metric="select/f1", margin=0.5))
    assert its.verdict == "no gain"


def test_the_gain_over_all_columns_pairs_seeds(tmp_path):
    make_tree(tmp_path, seeds=range(4))
    for its in overall_gains(grid_of(tmp_path)):
        method = its.row[0]
        sides = [
            np.mean([figures(tmp_path, f"{method}_{name}_{noise}*") for noise, _ in BOTH], axis=0)
            for name in ("paper", "none")
        ]
        assert its.result.p == pytest.approx(stats.ttest_rel(*sides).pvalue)
        assert its.result.n == 4 and its.col == ("mean of 2 columns",)


def test_alasca_may_be_a_column_and_the_first_row_is_what_others_are_compared_with(tmp_path):
    make_tree(tmp_path)
    found = gains(grid_of(tmp_path, rows=("method",), cols=("alasca", "noise")))
    assert {(its.row, its.base, its.col) for its in found} == {
        (("paper", noise), ("none", noise), (method,)) for method in ("ce", "elr") for noise, _ in BOTH
    }
    assert {its.base for its in against_one(grid_of(tmp_path))} == {("ce", "none")}
    others = against_one(grid_of(tmp_path, against=("elr", "none")))
    assert {its.base for its in others} == {("elr", "none")} and len(others) == 6
    with pytest.raises(UserError, match="no row is against=gce,none; the rows are ce,none; ce,paper"):
        against_one(grid_of(tmp_path, against=("gce", "none")))


@pytest.mark.parametrize(("gap", "sign"), [(0.2, ">"), (-0.2, "<")])
def test_a_claim_is_made_where_it_is_decided_and_certified(tmp_path, gap, sign):
    for seed in range(4):
        for alasca, level in (("none", 0.5), ("paper", 0.5 + gap)):
            make_run(tmp_path / f"{alasca}{seed}", alasca=alasca, seed=seed, level=level)
    (its,) = gains(grid_of(tmp_path))
    assert claim(its) == f"symmetric, 0.5: ce, paper {sign} ce, none"
    make_run(tmp_path / "paper3", alasca="paper", seed=3, level=0.5 + gap, initial_weights=["b" * 64])
    (its,) = gains(grid_of(tmp_path))
    assert claim(its) == "symmetric, 0.5: ce, paper and ce, none are not comparable (initial weights)"


def test_seeds_with_other_noisy_labels_are_no_pairs(tmp_path):
    for seed in range(3):
        for alasca in ("none", "paper"):
            make_run(tmp_path / f"{alasca}{seed}", alasca=alasca, seed=seed)
    noise = NoiseRecord("symmetric", 0.5, 0.45, 2, "other".ljust(64, "0"))
    make_run(tmp_path / "paper2", alasca="paper", seed=2, noise=noise)
    (its,) = gains(grid_of(tmp_path))
    assert its.seeds == (0, 1) and its.verdict == "n too small to decide" and not its.is_certified
    assert [(seed, each.what) for seed, each in its.failures] == [(2, "noisy labels")]
    for seed in range(3):
        make_run(tmp_path / f"paper{seed}", alasca="paper", seed=seed, noise=noise)
    (its,) = gains(grid_of(tmp_path))
    assert its.result is None and "no seed has runs of both ce, paper and ce, none with the same noisy labels" in claim(
        its
    )


def test_too_few_pairs_take_no_part_in_the_correction(tmp_path):
    make_tree(tmp_path, methods=["ce"], noises=[("symmetric", 0.5)], seeds=range(3))
    make_tree(tmp_path, methods=["ce"], noises=[("asymmetric", 0.4)], seeds=range(2))
    few, enough = gains(grid_of(tmp_path))
    assert few.adjusted is None and few.verdict == "n too small to decide" and few.result.p is not None
    assert enough.adjusted == enough.result.p


CONFIG = {
    "batches (data.batch_size)": {"data.batch_size": 32},
    "selection (report.last_epochs)": {"report.last_epochs": 5},
    "selection (predict.rule)": {"predict.rule": "ensemble_all"},
}
RECORD = {
    "split seed": {"split_seed": 9},
    "split": {"train_split": "x" * 64},
    "initial weights": {"initial_weights": ["x" * 64]},
    "number of tuned settings": {"overrides": ["method=ce", "criterion.strength=1", "optim.lr=0.2", "seed=0"]},
    "noisy labels of the validation split": {"val_noise": NoiseRecord("symmetric", 0.5, 0.5, 0, "v" * 64)},
    "noisy labels": {"noise": NoiseRecord("symmetric", 0.5, 0.5, 0, "x" * 64)},
}


def saved(folder: Path) -> SavedRun:
    return find_runs([folder]).runs[0]


@pytest.mark.parametrize("what", [*CONFIG, *RECORD])
def test_each_condition_of_a_fair_comparison(tmp_path, what):
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=0, config=CONFIG.get(what), **RECORD.get(what, {}))
    one, other = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert certify(one, one) == []
    assert [each.what for each in certify(one, other)] == [what]
    assert all(each.repair and each.found for each in certify(one, other))


def test_epochs_and_data_are_conditions_too(tmp_path):
    made = make_run(tmp_path / "a")
    rows = [{"epoch": epoch, "step": epoch, "test/acc": 0.5, "val/acc": 0.5} for epoch in range(4)]
    make_run(tmp_path / "b", rows=rows)
    data = replace(made.data, sha256="x" * 64)
    make_run(tmp_path / "c", data=data)
    one, other, third = (saved(tmp_path / name) for name in "abc")
    assert [(each.what, each.found) for each in certify(one, other)] == [("epochs", "6 and 4")]
    assert [each.what for each in certify(one, third)] == ["data"]


def test_what_a_record_does_not_keep_fails(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", initial_weights=[], train_split=None)
    failures = certify(saved(tmp_path / "a"), saved(tmp_path / "b"))
    assert [each.what for each in failures] == ["split", "initial weights"]
    assert all(each.found == "not in the record of b" for each in failures)
    # Two networks against one: the one that both have counts.
    make_run(tmp_path / "b", initial_weights=["0".ljust(64, "f"), "2" * 64])
    assert certify(saved(tmp_path / "a"), saved(tmp_path / "b")) == []


def test_what_was_let_pass_keeps_a_claim_from_being_made(tmp_path):
    for seed in range(4):
        make_run(tmp_path / f"none{seed}", seed=seed)
        make_run(tmp_path / f"paper{seed}", alasca="paper", seed=seed, level=0.7, config={"optim.lr": 0.2})
    (its,) = gains(grid_of(tmp_path, allow=("optim.lr",)))
    assert claim(its).endswith("are not comparable (optim.lr)")
    assert its.failures[0][1].found == "0.2 and 0.1"


def test_costs_are_means_relative_to_cross_entropy_on_the_same_hardware(tmp_path):
    for seed, seconds in ((0, 60.0), (1, 66.0)):
        make_run(tmp_path / f"ce{seed}", seed=seed, duration_seconds=seconds)
        make_run(
            tmp_path / f"alasca{seed}", alasca="paper", seed=seed, duration_seconds=2 * seconds,
            peak_memory_mb={"process": 1000, "cuda:0": 500},
        )  # fmt: skip
        other = {"cpu": "Y", "threads": 1, "gpus": []}
        make_run(tmp_path / f"elr{seed}", "elr", seed=seed, hardware=other, parameters={}, flops={})
    base, alasca, elr = costs(grid_of(tmp_path))
    assert base.seconds == pytest.approx(np.mean([60 / 6, 66 / 6])) and base.relative == (1.0, 1.0, 1.0, 1.0)
    assert alasca.seconds == pytest.approx(21.0) and alasca.memory == 500
    assert alasca.relative == pytest.approx((2.0, 0.5, 1.5, 1.25))
    assert elr.relative == (None,) * 4 and elr.parameters is None and elr.flops is None
    assert all(one.row < other.row for one, other in pairwise((base, alasca, elr)))


def test_a_rule_that_the_base_lacks_is_compared_with_its_main_head(tmp_path):
    make_tree(tmp_path, methods=["ce"], noises=[("symmetric", 0.5)])
    grid = grid_of(tmp_path, rows=("alasca", "rule"))
    found = gains(grid)
    assert [(its.row, its.base) for its in found] == [
        (("paper", "main"), ("none", "main")),
        (("paper", "ensemble_all"), ("none", "main")),
    ]
    assert all(its.result.n == 3 for its in found)
    # Two rules of one run cost what the run costs.
    assert [its.row for its in costs(grid)] == [("none", "main"), ("paper", "main")]


def test_each_form_of_alasca_is_compared_with_the_base_that_has_none(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"base{seed}", seed=seed, config={"aux.kind": "bottleneck"})
        for kind in ("bottleneck", "mlp"):
            make_run(tmp_path / f"{kind}{seed}", "ce", "paper", seed=seed, config={"aux.kind": kind})
    grid = build_grid(find_runs([tmp_path]), Question(rows=("method", "alasca", "aux.kind"), cols=("noise",)))
    found = gains(grid)
    assert [(each.row[2], each.base) for each in found] == [
        ("bottleneck", ("ce", "none", "bottleneck")),
        ("mlp", ("ce", "none", "bottleneck")),
    ]
    assert all(len(each.seeds) == 3 for each in found)
