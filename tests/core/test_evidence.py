"""Sums over visits: against loops, for few and for many classes."""

import math

import numpy as np
import pytest
import torch

from alasca_pl.core.evidence import Evidence


def fed(
    num_classes: int, epochs: int, generator: torch.Generator, networks: int = 2, samples: int = 7
) -> tuple[Evidence, torch.Tensor, torch.Tensor]:
    """Evidence after some epochs, in batches of random order; all logits (E, M, N, K); labels."""
    evidence = Evidence(samples, num_classes, networks)
    label = torch.randint(num_classes, (samples,), generator=generator)
    logits = 3 * torch.randn(epochs, networks, samples, num_classes, generator=generator)
    for epoch in range(epochs):
        for batch in torch.randperm(samples, generator=generator).split(3):
            evidence.update(logits[epoch][:, batch], label[batch], batch)
    return evidence, logits, label


def test_means_equal_loops_over_the_visits(generator: torch.Generator):
    evidence, logits, label = fed(4, 5, generator)
    means = evidence.means()
    assert means["visits"].tolist() == [5] * 7
    for network in range(2):
        for sample in range(7):
            given = int(label[sample])
            margins, probs, losses, wrong = [], [], [], 0
            average = [0.0] * 4
            for epoch in range(5):
                row = logits[epoch, network, sample].tolist()
                total = sum(math.exp(z) for z in row)
                margins.append(row[given] - max(z for k, z in enumerate(row) if k != given))
                probs.append(math.exp(row[given]) / total)
                losses.append(-math.log(probs[-1]))
                wrong += margins[-1] < 0
                average = [old + math.exp(z) / total / 5 for old, z in zip(average, row)]
            mean = sum(probs) / 5
            deviation = math.sqrt(sum((p - mean) ** 2 for p in probs) / 5)
            at = network, sample
            assert means["margin"][at] == pytest.approx(sum(margins) / 5, rel=1e-4)
            assert means["confidence"][at] == pytest.approx(mean, rel=1e-4)
            assert means["confidence_std"][at] == pytest.approx(deviation, abs=1e-3)
            assert means["loss"][at] == pytest.approx(sum(losses) / 5, rel=1e-4)
            assert means["last_loss"][at] == pytest.approx(losses[-1], rel=1e-4)
            assert means["wrong_events"][at] == wrong
            assert means["suggested"][at] == max(range(4), key=average.__getitem__)
            assert means["suggested_prob"][at] == pytest.approx(max(average), rel=1e-4)


def test_samples_without_a_visit_have_no_evidence():
    evidence = Evidence(3, 4, 1)
    evidence.update(torch.zeros(1, 1, 4), torch.tensor([2]), torch.tensor([1]))
    means = evidence.means()
    assert means["visits"].tolist() == [0, 1, 0]
    assert np.isnan(means["margin"][0, [0, 2]]).all()
    assert means["suggested"][0, [0, 2]].tolist() == [-1, -1]


def test_with_many_classes_a_class_that_stays_large_is_suggested_exactly(generator: torch.Generator):
    samples, classes, epochs = 6, 50, 12
    evidence = Evidence(samples, classes, 1)
    # One class dominates after an epoch of noise, the others change at random.
    target = torch.randint(classes, (samples,), generator=generator)
    mass = torch.zeros(samples)
    for epoch in range(epochs):
        logits = torch.randn(1, samples, classes, generator=generator)
        if epoch:
            logits[0, torch.arange(samples), target] += 6
            mass += logits[0].softmax(1)[torch.arange(samples), target]
        evidence.update(logits, target, torch.arange(samples))
    means = evidence.means()
    assert means["suggested"][0].tolist() == target.tolist()
    # What it had before it was kept is lost at most.
    exact = (mass / epochs).numpy()
    assert (means["suggested_prob"][0] >= exact - 1e-5).all()
    assert (means["suggested_prob"][0] <= exact + 1 / epochs).all()
    assert Evidence.megabytes(10**6, 1000, 1) < 150


def test_it_goes_on_from_its_state(generator: torch.Generator):
    whole = Evidence(5, 40, 1)
    first = Evidence(5, 40, 1)
    second = Evidence(5, 40, 1)
    label, index = torch.tensor([1, 2, 3, 4, 5]), torch.arange(5)
    for step in range(4):
        logits = torch.randn(1, 5, 40, generator=generator)
        whole.update(logits, label, index)
        if step == 2:
            second.load_state_dict(first.state_dict())
        (first if step < 2 else second).update(logits, label, index)
    for name, value in whole.means().items():
        np.testing.assert_array_equal(value, second.means()[name])


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match="another data set"):
        Evidence(5, 4, 1).load_state_dict(Evidence(6, 4, 1).state_dict())


@pytest.mark.parametrize("num_classes", [4, 40])
@pytest.mark.parametrize("together", [2, 3, 100])
def test_updates_that_are_added_together_give_the_same_bits(
    num_classes: int, together: int, generator: torch.Generator
):
    one, several = (Evidence(50, num_classes, 2, each) for each in (1, together))
    label = torch.randint(num_classes, (50,), generator=generator)
    for epoch in range(4):
        for number, batch in enumerate(torch.randperm(50, generator=generator).split(7)):
            logits = 3 * torch.randn(2, len(batch), num_classes, generator=generator)
            for evidence in (one, several):
                evidence.update(logits, label[batch], batch)
            if epoch == 2 and number == 4:
                # A checkpoint within the epoch, and a run that goes on from it.
                again = Evidence(50, num_classes, 2, together)
                again.load_state_dict(several.state_dict())
                several = again
        several.flush()
    for name, value in one.state_dict().items():
        other = several.state_dict()[name]
        assert value is other is None or torch.equal(value, other), name
