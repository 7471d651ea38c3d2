"""The estimated noise rate: known rates, degenerate losses, state."""

import inspect
import io
import logging
import math

import numpy as np
import pytest
import torch

from alasca_pl.methods.mixture import two_component_posterior
from alasca_pl.methods.noise_rate import NoiseRateEstimate, confident_rate, consensus_rate, estimate_noise_rate
from alasca_pl.methods.transition import consensus_matrix


def losses_of(rate: float, margin: float, seed: int, count: int = 4000, classes: int = 10) -> tuple[np.ndarray, float]:
    """Losses of a network that predicts the right class by a margin and has learnt how often labels are wrong."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, classes, count)
    wrong = rng.random(count) < rate
    label = np.where(wrong, (clean + rng.integers(1, classes, count)) % classes, clean)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), clean] += margin
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probs = (1 - rate) * probs + rate / classes
    return -np.log(probs[np.arange(count), label]), float(wrong.mean())


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_rate_of_well_predicted_samples_is_found(rate: float, seed: int):
    losses, true_rate = losses_of(rate, 5.0, seed)
    assert estimate_noise_rate(losses[None]) == pytest.approx(true_rate, abs=0.03)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_worse_predictions_give_a_rougher_rate(rate: float):
    losses, true_rate = losses_of(rate, 3.0, 0)
    assert estimate_noise_rate(losses[None]) == pytest.approx(true_rate, abs=0.12)


def test_networks_are_averaged_each_on_its_own_scale():
    one, other = losses_of(0.2, 5.0, 0)[0], losses_of(0.6, 5.0, 1)[0]
    alone = [estimate_noise_rate(each[None]) for each in (one, other)]
    together = estimate_noise_rate(np.stack([one, 1000.0 * other + 3.0]))
    assert together == pytest.approx(sum(alone) / 2, abs=1e-6)


def test_the_rate_is_the_mean_posterior_of_the_higher_losses():
    losses = losses_of(0.3, 4.0, 2)[0]
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    posterior = two_component_posterior(scaled, "high", max_iter=100, tol=1e-4, reg_covar=5e-4, seed=3)
    assert estimate_noise_rate(losses[None], seed=3) == pytest.approx(
        sum(posterior.tolist()) / len(posterior), abs=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 2.3])
def test_losses_that_are_all_alike_have_no_noise(value: float):
    assert estimate_noise_rate(np.full((2, 30), value)) == 0.0


def test_clean_labels_are_not_asked_for():
    assert list(inspect.signature(NoiseRateEstimate.update).parameters) == ["self", "losses", "epoch", "probs", "label"]


def test_saved_and_loaded_it_is_the_same():
    estimate, other = NoiseRateEstimate(), NoiseRateEstimate()
    assert (estimate.rate, estimate.epoch) == (None, None)
    rate = estimate.update(torch.from_numpy(losses_of(0.4, 5.0, 0)[0])[None].float(), epoch=7)
    assert estimate.rate == rate
    file = io.BytesIO()
    torch.save(estimate.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other.rate, other.epoch) == (rate, 7)


def test_before_the_first_estimate_the_state_is_saved_too():
    estimate, other = NoiseRateEstimate(), NoiseRateEstimate()
    estimate.update(torch.tensor([[0.0, 1.0, 0.1]]), epoch=1)
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    estimate.load_state_dict(torch.load(file, weights_only=True))
    assert (estimate.rate, estimate.epoch) == (None, None)


def test_another_precision_of_the_module_changes_nothing():
    losses = torch.from_numpy(losses_of(0.4, 5.0, 0)[0])[None].float()
    assert NoiseRateEstimate().half().update(losses, 0) == NoiseRateEstimate().update(losses, 0)


def test_the_log_counts_epochs_from_one(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "alasca_pl"):
        NoiseRateEstimate().update(torch.from_numpy(losses_of(0.4, 5.0, 0)[0])[None], epoch=4)
    assert caplog.messages[0].startswith("estimated before epoch 5 that")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_losses_of_a_diverged_run_are_refused(bad: float):
    with pytest.raises(ValueError, match="before epoch 5 are not finite"):
        NoiseRateEstimate().update(torch.tensor([[0.0, bad]]), epoch=4)


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(networks, samples\), got \(5,\)"):
        estimate_noise_rate(np.zeros(5))


def test_the_confident_joint_against_a_loop(agreement):
    rng = np.random.default_rng(4)
    probs = rng.dirichlet(np.full(4, 0.4), size=300)
    label = rng.integers(0, 3, 300)  # nothing carries label 3
    thresholds = [np.mean([p[k] for p, y in zip(probs, label) if y == k]) if k < 3 else math.inf for k in range(4)]
    joint = [[0.0] * 4 for _ in range(4)]
    for p, y in zip(probs, label):
        likely = [k for k in range(4) if p[k] >= thresholds[k]]
        if likely:
            joint[y][max(likely, key=lambda k: p[k])] += 1
    right = total = 0.0
    for y, row in enumerate(joint):
        if sum(row):
            share = sum(label == y) / sum(row)
            right += row[y] * share
            total += sum(row) * share
    agreement(
        confident_rate, "rate of the confident joint", confident_rate(probs, label), 1 - right / total, atol=1e-12
    )


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_a_network_that_knows_the_classes_gives_the_rate(rate):
    rng = np.random.default_rng(5)
    clean = rng.integers(0, 5, 4000)
    label = np.where(rng.random(4000) < rate, rng.integers(0, 5, 4000), clean)
    probs = rng.dirichlet(np.ones(5), size=4000) * 0.3
    probs[np.arange(4000), clean] += 0.7
    assert confident_rate(probs, label) == pytest.approx(np.mean(label != clean), abs=0.02)
    losses = -np.log(probs[np.arange(4000), label])
    assert consensus_rate(probs, label) == pytest.approx(np.mean(label != clean), abs=0.02)
    assert estimate_noise_rate(losses[None], probs[None], label) <= np.mean(label != clean) + 0.02


def test_the_smaller_of_both_estimates_counts_per_network():
    rng = np.random.default_rng(6)
    losses, probs = rng.random((2, 200)), rng.dirichlet(np.ones(3), size=(2, 200))
    label = rng.integers(0, 3, 200)
    alone = [estimate_noise_rate(each[None]) for each in losses]
    joint = [consensus_rate(each, label) for each in probs]
    expected = np.mean([min(pair) for pair in zip(alone, joint)])
    assert estimate_noise_rate(losses, probs, label) == pytest.approx(expected, abs=1e-12)


def test_neighbours_by_predictions_are_those_by_logits():
    rng = np.random.default_rng(7)
    clean = rng.integers(0, 4, 500)
    logits = rng.normal(size=(500, 4)) + 3.0 * np.eye(4)[clean]
    label = np.where(rng.random(500) < 0.3, rng.integers(0, 4, 500), clean)
    probs = np.exp(logits + 5.0) / np.exp(logits + 5.0).sum(axis=1, keepdims=True)
    centred = (logits - logits.mean(axis=1, keepdims=True)).astype(np.float32)
    assert consensus_rate(probs, label) == pytest.approx(consensus_matrix(centred, label, 4).noise_rate, abs=1e-3)


def test_probabilities_of_zero_have_neighbours_too():
    label = np.repeat([0, 1, 2], 50)
    assert consensus_rate(np.eye(3)[label], label) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(("count", "classes"), [(300, 101), (300, 2), (2, 3)])
def test_the_confident_joint_counts_where_a_consensus_cannot(count, classes):
    rng = np.random.default_rng(8)
    probs, label = rng.dirichlet(np.ones(classes), count), rng.integers(0, classes, count)
    losses = np.linspace(0.0, 9.0, count)
    expected = min(estimate_noise_rate(losses[None]), confident_rate(probs, label))
    assert estimate_noise_rate(losses[None], probs[None], label) == pytest.approx(expected, abs=1e-12)
