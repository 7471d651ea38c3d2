"""Tables against numpy, and runs that do not belong together."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from trees import make_run, make_tree

from alasca_pl.cli import CONF_DIR
from alasca_pl.core.errors import UserError
from alasca_pl.report.differing import OF_METHODS
from alasca_pl.report.grid import build_grid
from alasca_pl.report.keys import belongs, homes
from alasca_pl.report.plots import mean_curves
from alasca_pl.report.question import Question
from alasca_pl.report.saved import find_runs
from alasca_pl.report.write_up import results_table


def grid_of(folder: Path, **question):
    return build_grid(find_runs([folder]), Question(**question))


def read_columns(file: Path) -> dict[str, list[float]]:
    """Columns of a CSV file, without our reader."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def expected_figure(folder: Path, metric: str, select: str) -> float:
    columns = read_columns(folder / "metrics.csv")
    values = np.array(columns[metric])
    if select == "last":
        return values[-1]
    if select == "mean_of_last":
        return values[-3:].mean()
    if select == "best_test":
        return values.max()
    return values[np.argmax(columns["val/acc"])]


@pytest.mark.parametrize("start", range(3))
@pytest.mark.parametrize("select", ["last", "mean_of_last", "best_val", "best_test"])
def test_means_and_stds_are_those_of_numpy(tmp_path, start, select):
    make_tree(tmp_path, start=start)
    grid = grid_of(tmp_path, select=select, metric="test/acc_main")
    assert grid.rows == (("ce", "none"), ("ce", "paper"), ("elr", "none"), ("elr", "paper"))
    assert grid.cols == (("asymmetric", 0.4), ("symmetric", 0.5))
    for row in grid.rows:
        for col in grid.cols:
            folders = sorted(tmp_path.glob(f"{row[0]}_{row[1]}_{col[0]}{col[1]}_seed*"))
            values = 100 * np.array([expected_figure(folder, "test/acc_main", select) for folder in folders])
            assert grid.summary(row, col) == pytest.approx((values.mean(), values.std(ddof=1), 3))
    printed = results_table(grid)
    mean, std, _ = grid.summary(("ce", "paper"), ("symmetric", 0.5))
    assert printed.rows[1][3] == f"{mean:.2f} ± {std:.2f} (3)"
    assert printed.header == ["method", "alasca", "asymmetric, 0.4", "symmetric, 0.5"]
    assert float(printed.data[1][4]) == grid.summary(("ce", "none"), ("symmetric", 0.5))[0]


def test_the_table_is_that_of_pandas(tmp_path):
    make_tree(tmp_path)
    grid = grid_of(tmp_path)
    rows = [
        (*folder.name.split("_")[:3], 100 * expected_figure(folder, "test/acc", "mean_of_last"))
        for folder in tmp_path.iterdir()
    ]
    frame = pd.DataFrame(rows, columns=["method", "alasca", "noise", "value"])
    expected = frame.groupby(["method", "alasca", "noise"])["value"].agg(["mean", "std", "count"])
    for (method, alasca, noise), row in expected.iterrows():
        col = next(col for col in grid.cols if f"{col[0]}{col[1]}" == noise)
        assert grid.summary((method, alasca), col) == pytest.approx(tuple(row))


def test_rules_of_prediction_are_rows_and_other_metrics_are_not_percent(tmp_path):
    make_tree(tmp_path, methods=["ce"], noises=[("symmetric", 0.5)])
    grid = grid_of(tmp_path, rows=("alasca", "rule"), select="last")
    assert grid.rows == (("none", "main"), ("paper", "main"), ("paper", "ensemble_all"))
    values = [expected_figure(f, "test/acc_ensemble_all", "last") for f in tmp_path.glob("*_paper_*")]
    assert grid.summary(("paper", "ensemble_all"), ("symmetric", 0.5))[0] == pytest.approx(100 * np.mean(values))
    for select in ("last", "mean_of_last", "best_val"):
        loss = grid_of(tmp_path, metric="train/loss", select=select)
        values = [expected_figure(folder, "train/loss", select) for folder in tmp_path.glob("ce_none_*")]
        assert loss.summary(("ce", "none"), ("symmetric", 0.5))[0] == pytest.approx(np.mean(values))


def test_any_name_of_the_config_is_a_key(tmp_path):
    for width in (16, 32):
        for seed in (0, 1):
            make_run(tmp_path / f"{width}_{seed}", seed=seed, config={"model.backbone.width": width})
    grid = grid_of(tmp_path, rows=("model.backbone.width",), cols=())
    assert grid.rows == ((16,), (32,)) and grid.cols == ((),)
    assert [grid.summary(row, ())[2] for row in grid.rows] == [2, 2]
    only = grid_of(tmp_path, where=(("model.backbone.width", "32"),))
    assert len(only.runs()) == 2


def test_what_follows_a_key_or_the_seed_is_no_other_difference(tmp_path):
    for epochs in (6, 12):
        for seed in (0, 1):
            changes = {"epochs": epochs, "trainer.max_epochs": epochs}
            make_run(tmp_path / f"{epochs}_{seed}", seed=seed, config=changes)
    assert len(grid_of(tmp_path, rows=("epochs",)).rows) == 2


def test_all_that_a_method_sets_belongs_to_it():
    """Otherwise a report of several methods refuses their runs."""
    for file in sorted((CONF_DIR / "method").glob("*.yaml")):
        config = yaml.safe_load(file.read_text())
        names = {name for key in config.keys() - {"defaults", "predict"} for name in _names(config[key], key)}
        assert [name for name in sorted(names) if not belongs(name, (*homes(["method"]), *OF_METHODS))] == [], file


def _names(value, name):
    return (
        [leaf for key in value for leaf in _names(value[key], f"{name}.{key}")] if isinstance(value, dict) else [name]
    )


def test_constants_that_a_method_applies_may_differ_and_others_may_not(tmp_path):
    make_run(tmp_path / "a", "ce")
    changes = {"suggested.lr": 0.02, "optim.lr": 0.02}
    for names in (["suggested.lr"], []):
        # A record of an earlier version does not say which values its constants set.
        make_run(tmp_path / "b", "elr", config=changes, constants=["cifar10"], constants_set=names)
        assert len(grid_of(tmp_path).rows) == 2
    make_run(tmp_path / "b", "elr", config=changes)
    with pytest.raises(
        UserError, match=r"rows, columns and seed: optim.lr \(0.02 in elr none; 0.1 in ce none\); suggested.lr"
    ):
        grid_of(tmp_path)


def test_a_weight_decay_is_the_methods_unless_it_was_typed(tmp_path):
    make_run(tmp_path / "a", "ce", config={"optim.weight_decay": 1e-3})
    changes = {"optim.weight_decay": 0.0}
    make_run(tmp_path / "b", "elr", config=changes)
    assert len(grid_of(tmp_path).rows) == 2
    make_run(tmp_path / "b", "elr", config=changes, overrides=["method=elr", "optim.weight_decay=0"])
    with pytest.raises(
        UserError, match=r"outside rows, columns and seed: optim.weight_decay \(0 in elr none; 0.001 in ce"
    ):
        grid_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.backbone.width": 32},
            r"outside rows, columns and seed: model.backbone.width \(16, 32\); make it .*where=model.backbone.width=16",
        ),
        ({"epochs": 7}, r"outside rows, columns and seed: epochs \(6, 7\)"),
        ({"noise.seed": 5}, r"within one cell: noise.seed \(0, 1, 5\)"),
        ({"report.last_epochs": 4}, r"outside rows, columns and seed: report.last_epochs \(3, 4\)"),
        ({"regularizers.alasca.strength": 3.0}, r"within one cell: regularizers.alasca.strength \(2, 3\)"),
        ({"noise.variant": "exclusive"}, r"within one cell: noise.variant \(absent, exclusive\)"),
    ],
)
def test_runs_that_differ_elsewhere_are_refused(tmp_path, changes, message):
    make_tree(tmp_path, methods=["ce"], noises=[("symmetric", 0.5)], seeds=[0, 1])
    make_run(tmp_path / "other", "ce", "paper", seed=2, config=changes)
    with pytest.raises(UserError, match=message):
        grid_of(tmp_path)
    name = next(iter(changes))
    grid = grid_of(tmp_path, allow=(name,))
    assert len(grid.runs()) == 5 and f"allow={name}" in grid.notes[0]


def test_an_option_that_came_later_and_is_off_is_no_difference(tmp_path):
    make_run(tmp_path / "earlier", seed=0)
    off = {"early_end": {"patience": None}, "model.compile": False, "phases": {}}
    make_run(tmp_path / "later", seed=1, config=off)
    assert len(grid_of(tmp_path).runs()) == 2
    make_run(tmp_path / "on", seed=2, config={"early_end": {"patience": 3}})
    with pytest.raises(UserError, match=r"early_end\.patience \(absent, 3\)"):
        grid_of(tmp_path)


@pytest.mark.parametrize("value", [0, 0.0, True])
def test_an_option_that_came_later_and_is_a_number_or_on_is_a_difference(tmp_path, value):
    make_run(tmp_path / "earlier", seed=0)
    make_run(tmp_path / "later", seed=1, config={"optim.dampening": value})
    with pytest.raises(UserError, match=r"optim\.dampening"):
        grid_of(tmp_path)


def test_another_data_set_under_the_same_name_is_refused(tmp_path):
    made = make_run(tmp_path / "a")
    other = type(made.data)(**{**vars(made.data), "sha256": "f" * 64})
    make_run(tmp_path / "b", seed=1, data=other)
    with pytest.raises(UserError, match=r"data\.sha256"):
        grid_of(tmp_path)


def test_two_runs_of_one_cell_and_seed_are_refused(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", level=0.6)
    with pytest.raises(UserError, match=r"a and .*b are runs of the same cell \(ce, none, symmetric, 0.5\) and seed 0"):
        grid_of(tmp_path)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"rows": ("metod",)}, "no run has a value for 'metod'; close to it are method"),
        ({"cols": ("model.backbone.widht",)}, "close to it are model.backbone.width"),
        ({"metric": "test/accuracy"}, "has no test/accuracy .* its metrics are test/acc"),
        ({"select": "best"}, "unknown select=best; choose one of last, mean_of_last, best_val, best_test"),
        ({"rows": ("seed",)}, "averaged over seeds"),
        ({"rows": ("method",), "cols": ("method",)}, "method is in rows or cols twice"),
        ({"rows": ()}, "rows has no key"),
        ({"rows": ("rule",), "metric": "train/loss"}, "must be an accuracy"),
        ({"where": (("method", "gce"),)}, "no run is left by where=method=gce: method is ce"),
        ({"where": (("nothing", "1"),)}, "no run has a value for 'nothing'"),
        ({"level": 1.0}, "level=1.0"),
        ({"margin": -1.0}, "margin=-1.0"),
        ({"metric": "train/loss", "select": "best_test"}, "has no train/loss for select=best_test"),
    ],
)
def test_questions_that_make_no_sense_are_refused(tmp_path, question, message):
    make_run(tmp_path / "a")
    with pytest.raises(UserError, match=message):
        grid_of(tmp_path, **question)


def test_without_validation_there_is_no_best_on_it(tmp_path):
    rows = [{"epoch": epoch, "step": epoch, "test/acc": 0.5} for epoch in range(3)]
    make_run(tmp_path / "a", rows=rows)
    with pytest.raises(UserError, match=r"has no select=best_val; it was measured on test"):
        grid_of(tmp_path, select="best_val")


def test_without_a_finished_run_there_is_no_table(tmp_path):
    make_run(tmp_path / "a", status="failed", problem="boom")
    with pytest.raises(UserError, match=r"there is no finished run \(.*a: failed\)"):
        grid_of(tmp_path)


def test_several_versions_and_machines_are_said(tmp_path):
    make_run(tmp_path / "a", git={"revision": "x", "changed": True})
    make_run(tmp_path / "b", seed=1, versions={"torch": "3"}, hardware={"cpu": "Y", "gpus": []}, precision="bf16-mixed")
    notes = "\n".join(grid_of(tmp_path).notes)
    for text in (
        "several versions of torch: 2, 3",
        "several processors: X, Y",
        "2 revisions",
        "1 of 2 runs",
        "precisions",
    ):
        assert text in notes


def test_accuracies_of_single_networks_are_no_rules_of_prediction(tmp_path):
    rows = [{"epoch": 0, "step": 1, "test/acc": 0.5, "test/acc_main": 0.5, "test/acc_network_0": 0.4}]
    make_run(tmp_path / "a", rows=rows)
    assert grid_of(tmp_path, rows=("method", "rule")).rows == (("ce", "main"),)


def test_curves_are_those_of_the_rows_rule(tmp_path):
    make_tree(tmp_path, methods=["ce"], alascas=["paper"], noises=[("symmetric", 0.5)])
    grid = grid_of(tmp_path, rows=("alasca", "rule"))
    columns = [read_columns(path) for path in sorted(tmp_path.glob("*/metrics.csv"))]
    for rule in ("main", "ensemble_all"):
        epochs, means, stds, counts = mean_curves(grid, ("paper", rule), ("symmetric", 0.5), "test/acc")
        values = 100 * np.array([each[f"test/acc_{rule}"] for each in columns])
        assert epochs == [1, 2, 3, 4, 5, 6] and counts == [3] * 6
        assert means == pytest.approx(values.mean(0)) and stds == pytest.approx(values.std(0, ddof=1))
