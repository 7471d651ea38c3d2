"""Scores of runs that nobody trained, in tables and back."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from alasca_pl.audit.scores import score_names, suspicion
from alasca_pl.core.errors import UserError
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.report.question import Question
from alasca_pl.runs.compare_scores import compare_scores
from audit.made import noisy, sample_file
from report.trees import make_run

SEEDS = (0, 1, 2)


def add_labels(folder: Path, rate: float, seed: int, skill: float, **changes) -> tuple[SampleFile, np.ndarray]:
    """Write labels, clean ones among them, and evidence into a run's folder."""
    true = np.random.default_rng(seed).integers(0, 3, 200)
    label = noisy(true, rate, seed=seed)
    file = sample_file(label, true, seed=seed, skill=skill)
    labels = NoisyLabels(label, true, file.index, 3, "symmetric", rate, seed)
    file.save(folder / "samples.npz")
    replace(labels, **changes).save(folder / "noise.npz")
    return file, label != true


@pytest.fixture
def tree(tmp_path: Path) -> dict[tuple[str, float, int], tuple[SampleFile, np.ndarray]]:
    made = {}
    for alasca, skill in (("none", 1.0), ("paper", 3.0)):
        for rate in (0.1, 0.4):
            for seed in SEEDS:
                folder = tmp_path / "runs" / f"{alasca}_{rate}_{seed}"
                make_run(folder, alasca=alasca, rate=rate, seed=seed)
                made[alasca, rate, seed] = add_labels(folder, rate, seed, skill)
    return made


def test_each_cell_is_the_mean_over_its_seeds(tree, tmp_path: Path):
    compared = compare_scores([tmp_path / "runs"], Question(rows=("alasca",), cols=("rate",)))
    names = list(score_names(tree["none", 0.1, 0][0]))
    assert compared.rows.scores == names and len(compared.rows.rows) == 12 * len(names)
    tables = {table.name: table for table in compared.document(pictures=False).tables}
    for measure, function in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        data = [dict(zip(tables[measure].data_header, row)) for row in tables[measure].data]
        assert len(data) == 4 * len(names)
        for line in data:
            own = [tree[line["alasca"], float(line["rate"]), seed] for seed in SEEDS]
            values = [function(wrong, suspicion(file, line["score"])) for file, wrong in own]
            assert float(line["mean"]) == pytest.approx(np.mean(values))
            assert float(line["std"]) == pytest.approx(np.std(values, ddof=1)) and line["n"] == "3"
    # The networks with more skill are ahead, and the table marks one cell of each column.
    for measure, sign in (("average_precision", 1), ("auroc", 1), ("precision", 1), ("missed", -1)):
        table = tables[measure]
        for number in (2, 3):
            marked = [row for row in table.rows if row[number].endswith("*")]
            values = [sign * float(row[number].split()[0]) for row in table.rows]
            assert [row[1] for row in marked] == ["paper"]
            assert sign * float(marked[0][number].split()[0]) == max(values)


def test_the_gain_of_the_default_is_paired(tree, tmp_path: Path):
    compared = compare_scores([tmp_path / "runs"], Question(rows=("alasca",), cols=("rate",)))
    table = {each.name: each for each in compared.document(pictures=False).tables}["against_default"]
    lines = [dict(zip(table.data_header, row)) for row in table.data]
    assert len(lines) == 4 * 4
    for line in lines:
        cell = (line["alasca"],), (line["rate"],)
        means = {
            name: np.mean(list(compared.rows.values(line["measure"], name, *cell).values()))
            for name in compared.rows.scores
            if name != "margin"
        }
        sign = -1 if line["measure"] == "missed" else 1
        best = max(means, key=lambda name, sign=sign, means=means: sign * means[name])
        own = compared.rows.values(line["measure"], "margin", *cell)
        theirs = compared.rows.values(line["measure"], best, *cell)
        assert line["best_other"] == best
        assert float(line["gain"]) == pytest.approx(np.mean([sign * (own[seed] - theirs[seed]) for seed in SEEDS]))


def test_everything_is_computed_again_from_one_file(tree, tmp_path: Path):
    question = Question(rows=("method", "alasca"), cols=("noise", "rate"))
    files = compare_scores([tmp_path / "runs"], question).write(tmp_path / "one")
    assert {file.name for file in files} == {
        "scores.csv", "comparison.md", "comparison.csv", "average_precision.png", "auroc.png",
    }  # fmt: skip
    again = compare_scores([tmp_path / "one" / "scores.csv"], Question()).write(tmp_path / "two")
    for one, two in zip(files, again):
        assert one.name == two.name and one.read_bytes() == two.read_bytes()
    lines = list(csv.DictReader((tmp_path / "one" / "comparison.csv").read_text().splitlines()))
    assert {line["measure"] for line in lines} == {"auroc", "average_precision", "precision", "missed"}
    with pytest.raises(UserError, match="exists and is not empty"):
        compare_scores([tmp_path / "runs"], question).write(tmp_path / "one")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"other.csv is no scores.csv"):
        compare_scores([tmp_path / "other.csv"], question)


def test_runs_that_cannot_be_measured_are_named(tree, tmp_path: Path):
    runs = tmp_path / "runs"
    for name, changes in (
        ("unknown", {"clean_label": None}),
        ("bare", None),
        ("clean", {"clean_label": tree["none", 0.1, 0][0].label}),
        ("swapped", {"label": np.zeros(200, dtype=np.int64)}),
    ):
        make_run(runs / name, seed=7, rate=0.7)
        if changes is not None:
            add_labels(runs / name, 0.1, 0, 1.0, **changes)
    make_run(runs / "failed", status="failed", problem="it broke")
    compared = compare_scores([runs], Question(rows=("alasca",), cols=("rate",)))
    assert len({each.run for each in compared.rows.rows}) == 12
    listing = " | ".join(sorted(compared.left_out))
    assert "runs/bare: it has no samples.npz | runs/clean: 0 of its 200 labels are wrong" in listing
    assert "runs/failed: failed it broke | runs/swapped: samples.npz and noise.npz are for different labels" in listing
    assert listing.endswith("runs/unknown: clean labels are unknown")
    assert "clean labels are unknown" in str(compared.document(pictures=False))
    with pytest.raises(UserError, match="no run is left whose scores can be measured"):
        compare_scores([runs / "unknown"], Question())
    with pytest.raises(UserError, match="these runs differ outside rows, columns and seed"):
        compare_scores([runs / "none_0.1_0", runs / "none_0.4_0"], Question(rows=("alasca",), cols=()))


def test_planted_labels_and_those_that_were_never_visited_do_not_count(tmp_path: Path):
    folder = tmp_path / "run"
    make_run(folder)
    planted = np.full(200, -1)
    planted[:20] = 1
    file, wrong = add_labels(folder, 0.4, 0, 1.0, planted_from=planted)
    file.visits[190:] = 0
    file.save(folder / "samples.npz")
    rows = compare_scores([folder], Question()).rows.rows
    assert {(each.labels, each.wrong) for each in rows} == {(170, int(wrong[20:190].sum()))}
    margin = next(each for each in rows if each.score == "margin")
    assert margin.auroc == pytest.approx(roc_auc_score(wrong[20:190], -file.evidence["margin"][0, 20:190]))


def test_runs_on_folds_of_a_run_are_no_runs_of_their_own(tree, tmp_path: Path):
    runs = tmp_path / "runs"
    make_run(runs / "none_0.1_0" / "folds" / "0", seed=9)
    assert (
        len({each.run for each in compare_scores([runs], Question(rows=("alasca",), cols=("rate",))).rows.rows}) == 12
    )
    # Unless they are asked for.
    add_labels(runs / "none_0.1_0" / "folds" / "0", 0.1, 9, 1.0)
    (only,) = {each.seed for each in compare_scores([runs / "none_0.1_0" / "folds"], Question()).rows.rows}
    assert only == 9
