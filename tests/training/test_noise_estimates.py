"""What estimators say of the noise is logged, and training does not notice."""

import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
import torch

from alasca_pl.core.noise_estimate import NoiseEstimate, NoiseEstimator, matrix_error
from alasca_pl.core.rows import read_rows
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.methods.noise_estimates import AllEstimates
from alasca_pl.methods.noise_rate import confident_rate, consensus_rate, mixture_rate
from alasca_pl.methods.transition import anchor_matrix, consensus_matrix, dual_t_matrix, rate_of_matrix
from alasca_pl.training.callbacks.noise_estimates import NoiseEstimates
from running import SMALLER, TWO, assert_same_bits, checkpoint, train, train_killed

# Of three epochs the last two are scanned: each fit takes a third of a second.
ON = ("callbacks=noise_estimates", "callbacks.progress=null", "callbacks.noise_estimates.every=2")
RATES = ("mixture", "confident", "default", "anchor", "dual_t", "consensus")
MATRICES = RATES[3:]


def estimated(rows):
    return [
        {name: value for name, value in row.items() if name.startswith(("noise_rate/", "matrix_error/"))}
        for row in rows
    ]


def scan_of(rate, seed=0, count=600, classes=3):
    """What a network that knows the classes well gives, and the clean labels."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, classes, count)
    label = np.where(rng.random(count) < rate, (clean + rng.integers(1, classes, count)) % classes, clean)
    probs = rng.dirichlet(np.ones(classes), count) * 0.2
    probs[np.arange(count), clean] += 0.8
    probs = (1 - rate) * probs + rate * (1 - probs) / (classes - 1)
    features = np.eye(classes)[clean] + 0.1 * rng.random((count, classes))
    losses = -np.log(probs[np.arange(count), label])
    tables = (torch.from_numpy(each[None]).float() for each in (losses, probs, features))
    return ScanResult(torch.from_numpy(label), *tables), clean


def test_each_estimate_is_that_of_its_function():
    scan, _ = scan_of(0.3)
    found = AllEstimates(percentile=None, seed=3).estimates(scan)
    label, losses, probs = scan.label.numpy(), scan.losses[0].numpy(), scan.probs[0].double().numpy()
    consensus = consensus_matrix(scan.features[0].numpy(), label, 3, seed=3)
    matrices = {"anchor": anchor_matrix(probs, None), "dual_t": dual_t_matrix(probs, label, None)}
    assert tuple(found) == RATES
    assert found["mixture"].rate == mixture_rate(losses, 3) and found["confident"].rate == confident_rate(probs, label)
    assert found["default"].rate == min(found["mixture"].rate, consensus_rate(scan.probs[0].numpy(), label, 3))
    for name, matrix in matrices.items():
        np.testing.assert_array_equal(found[name].matrix, matrix)
        assert found[name].rate == rate_of_matrix(matrix, label)
    assert found["consensus"].rate == consensus.noise_rate
    assert [name for name, each in found.items() if each.matrix is not None] == list(MATRICES)


def test_a_network_that_knows_the_classes_gives_the_rate_by_each():
    scan, clean = scan_of(0.3, count=3000)
    true = np.mean(scan.label.numpy() != clean)
    for name, each in AllEstimates().estimates(scan).items():
        # Where predictions are as uncertain as labels are wrong, Dual-T counts the noise twice: 1 - 0.7 ** 2.
        expected = 1 - (1 - true) ** 2 if name == "dual_t" else true
        assert each.rate == pytest.approx(expected, abs=0.06), name


def test_the_rate_of_a_matrix_reproduces_its_prior():
    matrix = np.array([[0.7, 0.3, 0.0], [0.0, 0.9, 0.1], [0.2, 0.0, 0.8]])
    prior = np.array([0.5, 0.3, 0.2])
    label = np.repeat(np.arange(3), np.round(10_000 * prior @ matrix).astype(int))
    assert rate_of_matrix(matrix, label) == pytest.approx(1 - prior @ matrix.diagonal(), abs=1e-6)


def test_the_rate_of_a_matrix_that_cannot_explain_the_labels_lies_in_its_range():
    matrix = np.array([[0.6, 0.4], [0.3, 0.7]])
    # Nothing carries label 1, which any prior makes at least 0.4 likely.
    assert rate_of_matrix(matrix, np.zeros(9, dtype=np.int64)) == pytest.approx(0.4)


def test_rows_of_absent_classes_do_not_count_as_errors():
    true = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert matrix_error(np.eye(3), true) == pytest.approx((0.5 + 0.0) / 2)


@pytest.mark.parametrize("every", [0, -1])
def test_an_interval_of_no_epoch_is_refused(every):
    with pytest.raises(ValueError, match=f"every must be at least 1, got {every}"):
        NoiseEstimates(AllEstimates(), every)


@pytest.mark.parametrize("percentile", [0.0, 101.0])
def test_a_percentile_out_of_range_is_refused(percentile):
    with pytest.raises(ValueError, match=f"percentile must lie in .*{percentile}"):
        AllEstimates(percentile)


# What runs do with it


def test_training_does_not_change_by_a_bit_and_a_part_finds_the_same_rate(tmp_path):
    options = ("method=co_teaching", "alasca=none", "selector.estimate_epoch=2", *SMALLER)
    train(tmp_path / "without", *options)
    train(tmp_path / "with", *options, *ON)
    rows = {name: read_rows(tmp_path / name / "metrics.csv") for name in ("without", "with")}
    found = estimated(rows["with"])
    assert [
        {key: value for key, value in row.items() if key not in also} for row, also in zip(rows["with"], found)
    ] == rows["without"]
    one, other = checkpoint(tmp_path / "without"), checkpoint(tmp_path / "with")
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same_bits(one[part], other[part])
    names = {f"noise_rate/{name}/{m}" for name in RATES for m in (0, 1)} | {"noise_rate/true"}
    names |= {f"matrix_error/{name}/{m}" for name in MATRICES for m in (0, 1)}
    assert [row.keys() for row in found] == [set(), names, names]
    # The selector estimates before the third epoch, from what the second one left.
    selector = [state for name, state in other["state_dict"].items() if name.endswith("estimate._extra_state")]
    mean = np.mean([found[1][f"noise_rate/default/{m}"] for m in (0, 1)])
    assert [state["rate"] for state in selector] == [pytest.approx(mean, abs=1e-6)]


def test_only_some_epochs_are_scanned_and_always_the_last(tmp_path):
    train(tmp_path, *SMALLER, "alasca=none", *ON)
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row.get("noise_rate/default") is not None for row in rows] == [False, True, True]


def test_without_clean_labels_there_is_no_truth(tmp_path):
    from alasca_pl.build.data import build_data

    def unknown(config):
        data = build_data(config)
        data.noisy_labels = dataclasses.replace(data.noisy_labels, clean_label=None)
        return data

    with mock.patch("alasca_pl.runs.prepared.build_data", unknown):
        train(tmp_path, *SMALLER, "alasca=none", *ON)
    assert estimated(read_rows(tmp_path / "metrics.csv"))[-1].keys() == {f"noise_rate/{name}" for name in RATES}


def test_estimators_see_no_clean_label(tmp_path):
    """The proof by interference of ``test_spies``: with other truths the estimates are the same."""
    from composition.test_spies import with_other_truth

    last = "callbacks.noise_estimates.every=3"
    train(tmp_path / "true", *SMALLER, "alasca=none", *ON, last)
    with mock.patch("alasca_pl.runs.prepared.build_data", with_other_truth):
        train(tmp_path / "other", *SMALLER, "alasca=none", *ON, last)
    one, other = (estimated(read_rows(tmp_path / name / "metrics.csv")) for name in ("true", "other"))
    for row, its in zip(one[2:], other[2:], strict=True):
        for name in RATES:
            assert row[f"noise_rate/{name}"] == its[f"noise_rate/{name}"]
        assert row["noise_rate/true"] != its["noise_rate/true"]
        assert row["matrix_error/dual_t"] != its["matrix_error/dual_t"]


def test_a_resumed_run_has_the_same_estimates(tmp_path):
    options = (*SMALLER, "alasca=none", *ON)
    train(tmp_path / "whole", *options)
    train_killed(tmp_path / "killed", 6, *options)
    train(tmp_path / "killed", *options, f"ckpt_path={tmp_path}/killed/checkpoints/last.ckpt")
    whole, killed = (read_rows(tmp_path / name / "metrics.csv") for name in ("whole", "killed"))
    assert whole == killed and "noise_rate/consensus" in whole[-1]


@pytest.mark.slow
def test_two_processes_log_what_one_does(tmp_path):
    options = (*SMALLER, "alasca=none", *ON, "trainer.precision=64-true")
    train(tmp_path / "one", *options)
    train(tmp_path / "two", *options, *TWO)
    one, two = (estimated(read_rows(tmp_path / name / "metrics.csv")) for name in ("one", "two"))
    for row, its in zip(one[1:], two[1:], strict=True):
        assert row.keys() == its.keys() and "noise_rate/default" in row
        for name, value in row.items():
            assert its[name] == pytest.approx(value, abs=1e-3), name


class Broken(NoiseEstimator):
    request = ScanRequest(losses=True)
    names = ("never",)

    def estimates(self, scan):
        return {"never": NoiseEstimate(math.nan)}


def test_predictions_that_are_not_finite_give_no_estimate(caplog):
    from alasca_pl.training.module import NoisyLabelModule

    module = mock.Mock(spec=NoisyLabelModule)
    scan = ScanResult(torch.tensor([0, 1]), losses=torch.tensor([[0.1, math.nan]]))
    trainer = mock.Mock(current_epoch=4, max_epochs=9, is_global_zero=True)
    with mock.patch("alasca_pl.training.callbacks.noise_estimates.scan_training_set", return_value=scan):
        NoiseEstimates(Broken()).on_train_epoch_end(trainer, module)
    assert "no estimates of the noise after epoch 5" in caplog.text and not module.log.called
