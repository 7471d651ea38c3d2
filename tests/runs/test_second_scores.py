"""Second scores of a trained run: out of fold means out of fold, and nothing is trained twice."""

import csv
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

import alasca_pl
from alasca_pl.audit.audit import Audit
from alasca_pl.audit.words import lines_of
from alasca_pl.core.errors import UserError
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.methods.fine import alignment_scores, class_eigenvectors, clean_posterior
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.report.question import Question
from alasca_pl.report.saved import find_runs
from alasca_pl.runs import folds as folds_module
from alasca_pl.runs.compare_scores import compare_scores
from alasca_pl.runs.second import known_second, second_scores
from alasca_pl.runs.stored import data_of
from alasca_pl.training import scan
from running import assert_same_bits, checkpoint, train

OPTIONS = ("alasca=digits", "data.num_val=60")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("second") / "run"
    train(folder, *OPTIONS)
    return folder


@pytest.fixture(scope="module")
def audited(run: Path) -> tuple[Audit, list[str]]:
    said: list[str] = []
    result = alasca_pl.audit_run(
        run, sample=10, shown=5, second=("cleanlab", "fine", "last_loss"), folds=2, say=said.append
    )
    return result.audit, said


def softmax(logits: torch.Tensor) -> np.ndarray:
    return logits.double().softmax(1).numpy()


def test_each_label_is_judged_by_the_network_that_has_not_seen_it(run: Path, audited):
    audit, said = audited
    assert said[0].startswith("training 2 of 2 runs on 1/2 of the labels each, about 1 min") and len(said) == 3
    whole = NoisyLabels.load(run / "noise.npz")
    data = data_of(alasca_pl.load_run(run))
    images = torch.from_numpy(data.prepared.splits["train"].images).permute(0, 3, 1, 2)
    expected, seen = np.full(300, np.nan), []
    for number in range(2):
        part = alasca_pl.load_run(run / "folds" / str(number))
        used = NoisyLabels.load(run / "folds" / str(number) / "noise.npz").index
        assert part.record is not None and part.record.status == "finished"
        held = np.flatnonzero(~np.isin(whole.index, used))
        probs = softmax(part.module(part.normalise(images[held])).detach())
        expected[held] = 1 - probs[np.arange(len(held)), whole.label[held]]
        seen += held.tolist()
    assert sorted(seen) == list(range(300))
    own = audit.suspects.split == "train"
    values = audit.second["cleanlab_self_confidence_2folds"][own]
    np.testing.assert_allclose(values, expected[audit.suspects.row[own]], atol=1e-5)


def test_other_columns_are_of_the_final_network(run: Path, audited):
    audit, _ = audited
    part = alasca_pl.load_run(run)
    data = data_of(part)
    own = audit.suspects.split == "train"
    for split in ("train", "val"):
        images = torch.from_numpy(data.prepared.splits[split].images).permute(0, 3, 1, 2)
        label = data.prepared.labels[split]
        given = softmax(part.module(part.normalise(images)).detach())[np.arange(len(label)), label]
        chosen = audit.suspects.split == split
        values = audit.second["cleanlab_self_confidence"][chosen]
        np.testing.assert_allclose(values, 1 - given[audit.suspects.row[chosen]], atol=1e-5)
        if split == "train":
            (network,) = part.module.method.networks
            features = network(part.normalise(images)).features.detach()
            label = torch.from_numpy(label)
            vectors = class_eigenvectors(features, label, torch.ones(len(label), dtype=torch.bool), 10)
            scores = alignment_scores(features, label, vectors)
            assert (1 - audit.second["fine"][chosen])[scores[audit.suspects.row[chosen]].argmax()] > 0.5
            posterior = clean_posterior(scores, label, 10, 0).numpy()
            # The mixtures start from other seeds.
            assert np.corrcoef(1 - audit.second["fine"][chosen], posterior[audit.suspects.row[chosen]])[0, 1] > 0.9
    # Labels outside the training split have no out-of-fold network, but the final one has not seen them either.
    for name in ("margin", "entropy"):
        one, other = (audit.second[f"cleanlab_{name}{suffix}"] for suffix in ("", "_2folds"))
        np.testing.assert_array_equal(one[~own], other[~own])
    assert np.isnan(audit.second["fine"][~own]).all() and not np.isnan(audit.second["last_loss"]).any()


def test_the_table_and_the_words_have_them(run: Path, audited):
    audit, _ = audited
    with (run / "audit" / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = [row["cleanlab_entropy_2folds (larger = more suspicious)"] for row in rows]
    assert [float(value) for value in column] == pytest.approx(audit.second["cleanlab_entropy_2folds"], rel=1e-5)
    again = Audit.load(run / "audit" / "audit.npz")
    np.testing.assert_array_equal(again.second["fine"], audit.second["fine"])
    text = "\n".join(lines_of(again, []))
    assert "agreement of margin with second scores of the training labels" in text
    assert "labels for wrong, by networks of 2 folds" in text and again.second_counts.keys() == {0, 2}


def test_nothing_is_computed_twice_and_comparisons_use_what_is_known(run: Path, audited, monkeypatch):
    monkeypatch.setattr(folds_module, "train", None)
    monkeypatch.setattr(scan, "run_scan", None)
    second_scores(RunFolder(run), ["cleanlab", "fine"], folds=2)
    names = set(compare_scores([run], Question(rows=("noise",), cols=("rate",))).rows.scores)
    assert {"margin", "fine", "cleanlab_entropy", "cleanlab_entropy_2folds"} <= names
    # The runs on folds are part of the run.
    assert [each.folder for each in find_runs([run]).runs] == [run]
    with pytest.raises(UserError, match="another config or number of folds than 3"):
        second_scores(RunFolder(run), ["cleanlab"], folds=3)
    for tools, folds, message in (
        (["entropy"], 0, "unknown second score 'entropy'; choose from cleanlab, fine"),
        (["fine"], 3, "folds=3 is for with=cleanlab"),
        (["cleanlab"], 1, "folds=1 must be 0"),
    ):
        with pytest.raises(UserError, match=message):
            second_scores(RunFolder(run), tools, folds)


class StopAfterOneEpoch(L.Callback):
    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_fold_goes_on_where_it_was(run: Path, audited, tmp_path: Path, monkeypatch):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("second.npz", "audit"))
    shutil.rmtree(copy / "folds" / "1")
    real, trained = folds_module.train, []

    def interrupted(prepared):
        trained.append(prepared.folder.path.name)
        if len(trained) == 1:
            prepared.trainer.callbacks.append(StopAfterOneEpoch())
        return real(prepared)

    monkeypatch.setattr(folds_module, "train", interrupted)
    # Lightning ends the process after an interrupt; the command would, too.
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        second_scores(RunFolder(copy), ["cleanlab"], folds=2)
    assert torch.load(copy / "folds" / "1" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    second_scores(RunFolder(copy), ["cleanlab"], folds=2)
    assert trained == ["1", "1"]
    assert_same_bits(*(checkpoint(each / "folds" / "1")["state_dict"] for each in (run, copy)))
    one, other = (known_second(RunFolder(each)).scores["train"]["cleanlab_entropy_2folds"] for each in (run, copy))
    np.testing.assert_array_equal(one, other)
