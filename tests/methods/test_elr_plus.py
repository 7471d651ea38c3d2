"""ELR+'s criterion: explicit loops, ramp, sharpened labels, limits."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.elr import EarlyLearningRegularization
from alasca_pl.methods.elr_plus import EarlyLearningPlus


def at(step: int) -> Progress:
    return Progress(0, step, 10, 5)


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def mixed_targets() -> Targets:
    return Targets(
        torch.tensor([[0, 1], [2, 1]]), torch.tensor([[0, 2], [1, 0]]), torch.tensor([[0.75, 0.4], [0.25, 0.6]])
    )


@pytest.mark.parametrize("sharpen", [False, True])
@pytest.mark.parametrize(("coef_step", "ramp"), [(0, 1.0), (8, math.exp(-5 * (1 - 3 / 8) ** 2)), (2, 1.0)])
def test_equals_loops_over_rows_and_classes(
    sharpen: bool, coef_step: int, ramp: float, agreement, generator: torch.Generator
):
    criterion = EarlyLearningPlus(3, 3, strength=2.0, momentum=0.6, coef_step=coef_step, sharpen_labels=sharpen)
    table = [[0.0] * 3 for _ in range(3)]
    for _ in range(2):
        seen = 4 * torch.randn(3, 3, generator=generator)
        criterion.observe(seen, torch.arange(3))
        table = [[0.6 * t + 0.4 * p for t, p in zip(row, softmax(logits.tolist()))] for row, logits in zip(table, seen)]
    logits, targets = torch.randn(2, 3, generator=generator, dtype=torch.float64), mixed_targets()
    loss = criterion(logits, targets, at(2))
    expected = []
    for b in range(2):
        label, average = [0.0] * 3, [0.0] * 3
        for v in range(2):
            weight = targets.weight[v, b].item()
            label[targets.label[v, b]] += weight
            average = [a + weight * t for a, t in zip(average, table[targets.index[v, b]])]
        if sharpen:
            product = [y * q for y, q in zip(label, average)]
            label = [each / sum(product) for each in product]
        probs = softmax(logits[b].tolist())
        ce = -sum(y * math.log(p) for y, p in zip(label, probs))
        common = sum(q * min(max(p, 1e-4), 1 - 1e-4) for q, p in zip(average, probs))
        expected.append(ce + ramp * 2.0 * math.log(1 - common))
    agreement(EarlyLearningPlus, "loss with its table in float32", loss, expected, atol=2e-6)


def test_predictions_are_averaged_without_a_clamp():
    """A certain prediction is kept as it is; ELR's own average clamps it and scales it."""
    logits, index = torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([0])
    plus, plain = EarlyLearningPlus(1, 3, momentum=0.0), EarlyLearningRegularization(1, 3, momentum=0.0)
    for each in (plus, plain):
        each.observe(logits, index)
    assert plus.average.rows[0].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    assert plain.average.rows[0, 0].item() < 0.9999


def test_the_ramp_by_hand(agreement):
    """Steps count from 1 in the authors' formula: the first of ten has 5 * 0.9^2, the fifth 5 * 0.5^2."""
    criterion = EarlyLearningPlus(1, 3, coef_step=10)
    expected = [math.exp(-4.05), math.exp(-1.25), 1, 1, 1]
    agreement(EarlyLearningPlus, "ramp", [criterion.ramp(step) for step in (0, 4, 9, 10, 99)], expected, atol=1e-14)
    assert EarlyLearningPlus(1, 3).ramp(0) == 1.0


@pytest.mark.parametrize("sharpen", [False, True])
def test_strength_zero_and_unseen_samples_give_cross_entropy(sharpen: bool, generator: torch.Generator):
    logits, label = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    targets = Targets.unmixed(label, torch.arange(4))
    expected = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(EarlyLearningPlus(4, 3, sharpen_labels=sharpen)(logits, targets, at(0)), expected)
    # An unmixed label stays one-hot however much it is sharpened.
    off = EarlyLearningPlus(4, 3, strength=0.0, sharpen_labels=sharpen)
    off.observe(torch.randn(4, 3, generator=generator), torch.arange(4))
    torch.testing.assert_close(off(logits, targets, at(0)), expected)


def test_sharpening_follows_the_average_and_bears_labels_that_it_rules_out():
    criterion = EarlyLearningPlus(3, 3, strength=0.0, momentum=0.0, sharpen_labels=True)
    criterion.observe(torch.tensor([[-500.0, 0.0, -500.0]] * 3), torch.arange(3))
    logits = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    log_probs = F.log_softmax(logits, dim=1)[0]
    half = torch.tensor([[0.5], [0.5]])
    # Classes 0 and 1, of which the average knows only 1; then 0 and 2, of which it knows neither.
    for labels, expected in (([[0], [1]], -log_probs[1]), ([[0], [2]], -(log_probs[0] + log_probs[2]) / 2)):
        loss = criterion(logits, Targets(torch.tensor(labels), torch.tensor([[0], [1]]), half), at(0))
        torch.testing.assert_close(loss[0], expected)
        (slope,) = torch.autograd.grad(loss.sum(), [logits], retain_graph=True)
        assert torch.isfinite(slope).all()


def test_gradient_flows_through_the_prediction_and_not_through_average_or_label(generator: torch.Generator):
    criterion = EarlyLearningPlus(3, 3, momentum=0.5, sharpen_labels=True)
    criterion.observe(torch.randn(3, 3, generator=generator), torch.arange(3))
    assert not criterion.average.rows.requires_grad
    logits = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: criterion(each, mixed_targets(), at(0)), [logits])


def test_forward_twice_gives_the_same_and_loading_goes_on(generator: torch.Generator):
    criterion, other = EarlyLearningPlus(3, 3), EarlyLearningPlus(3, 3)
    criterion.observe(torch.randn(3, 3, generator=generator), torch.arange(3))
    logits = torch.randn(2, 3, generator=generator)
    first = criterion(logits, mixed_targets(), at(0))
    assert torch.equal(first, criterion(logits, mixed_targets(), at(0)))
    assert not torch.equal(first, other(logits, mixed_targets(), at(0)))
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(first, other(logits, mixed_targets(), at(0)))
    assert torch.equal(criterion.confidence(torch.tensor([0, 1, 2])), criterion.average.rows.diagonal())


@pytest.mark.parametrize(("name", "value"), [("strength", -1.0), ("momentum", 1.0), ("coef_step", -2)])
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        EarlyLearningPlus(2, 3, **{name: value})
