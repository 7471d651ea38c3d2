"""Early-learning regularisation: worked value, explicit loops, gradient, state."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.elr import EarlyLearningRegularization

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]])
ONE = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))


def clamped_softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z - max(logits)) for z in logits]
    return [min(max(power / sum(powers), 1e-4), 1 - 1e-4) for power in powers]


def loss_by_hand(logits: list[float], label: int, average: list[float], strength: float) -> float:
    log_sum = max(logits) + math.log(sum(math.exp(z - max(logits)) for z in logits))
    agreement = sum(t * p for t, p in zip(average, clamped_softmax(logits)))
    return log_sum - logits[label] + strength * math.log(1 - agreement)


def test_worked_example():
    # First step: t = 0.3 p, so CE + 3 log(1 - 0.3 * sum of p squared).
    criterion = EarlyLearningRegularization(1, 3, strength=3.0, momentum=0.7)
    criterion.observe(LOGITS, torch.tensor([0]))
    assert criterion(LOGITS, ONE, NOW).item() == pytest.approx(-0.091135, abs=2e-6)


def test_several_visits_equal_loops_over_samples_and_classes(agreement, generator: torch.Generator):
    criterion = EarlyLearningRegularization(5, 3, strength=2.0, momentum=0.6)
    averages = {number: [0.0, 0.0, 0.0] for number in range(5)}
    index, label = torch.tensor([4, 1, 2]), torch.tensor([0, 2, 2])
    for _ in range(3):
        logits = 6 * torch.randn(3, 3, generator=generator)
        criterion.observe(logits, index)
        for b in range(3):
            probs = clamped_softmax(logits[b].tolist())
            old = averages[int(index[b])]
            averages[int(index[b])] = [0.6 * t + 0.4 * p / sum(probs) for t, p in zip(old, probs)]
        loss = criterion(logits.double(), Targets.unmixed(label, index), NOW)
        expected = [loss_by_hand(logits[b].tolist(), int(label[b]), averages[int(index[b])], 2.0) for b in range(3)]
        agreement(EarlyLearningRegularization, "loss with its table in float32", loss, expected, atol=2e-6)


def test_a_mixed_row_is_pulled_towards_the_mix_of_its_averages(agreement, generator: torch.Generator):
    criterion = EarlyLearningRegularization(3, 3, strength=2.0, momentum=0.0)
    seen = torch.randn(3, 3, generator=generator)
    criterion.observe(seen, torch.arange(3))
    logits = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    weight = torch.tensor([[0.75, 0.4], [0.25, 0.6]], dtype=torch.float64)
    targets = Targets(torch.tensor([[0, 1], [2, 1]]), torch.tensor([[0, 2], [1, 0]]), weight)
    loss = criterion(logits, targets, NOW)
    expected = []
    for b in range(2):
        mix = [0.0, 0.0, 0.0]
        ce = 0.0
        for v in range(2):
            weight = targets.weight[v, b].item()
            probs = clamped_softmax(seen[targets.index[v, b]].tolist())
            mix = [m + weight * p / sum(probs) for m, p in zip(mix, probs)]
            ce += weight * loss_by_hand(logits[b].tolist(), int(targets.label[v, b]), [0.0] * 3, 0.0)
        common = sum(m * p for m, p in zip(mix, clamped_softmax(logits[b].tolist())))
        expected.append(ce + 2.0 * math.log(1 - common))
    agreement(EarlyLearningRegularization, "loss of mixed rows with its table in float32", loss, expected, atol=2e-6)


def test_strength_zero_and_unseen_samples_give_cross_entropy(generator: torch.Generator):
    logits, label = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    targets = Targets.unmixed(label, torch.arange(4))
    expected = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(EarlyLearningRegularization(4, 3)(logits, targets, NOW), expected)
    off = EarlyLearningRegularization(4, 3, strength=0.0)
    off.observe(logits, torch.arange(4))
    torch.testing.assert_close(off(logits, targets, NOW), expected)


def test_gradient_flows_through_the_prediction_and_not_through_the_average():
    """The gradient equals finite differences of the loss with the average held fixed."""
    criterion = EarlyLearningRegularization(1, 3, strength=3.0, momentum=0.7)
    logits = LOGITS.double().requires_grad_()
    criterion.observe(logits, torch.tensor([0]))
    assert not criterion.average.rows.requires_grad
    criterion(logits, ONE, NOW).sum().backward()
    average, step = criterion.average.rows[0].tolist(), 1e-6
    for k in range(3):
        up, down = [2.0, 1.0, 0.0], [2.0, 1.0, 0.0]
        up[k] += step
        down[k] -= step
        slope = (loss_by_hand(up, 0, average, 3.0) - loss_by_hand(down, 0, average, 3.0)) / (2 * step)
        assert logits.grad[0, k].item() == pytest.approx(slope, abs=1e-7)


def test_agreement_lowers_the_loss_and_the_clamp_bounds_it():
    criterion = EarlyLearningRegularization(1, 3, strength=3.0, momentum=0.0)
    certain = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    before = criterion(certain, ONE, NOW).item()
    criterion.observe(certain.detach(), torch.tensor([0]))
    after = criterion(certain, ONE, NOW)
    after.sum().backward()
    assert before == pytest.approx(0.0, abs=1e-6)
    assert 3 * math.log(1e-4) < after.item() < -10
    assert torch.isfinite(certain.grad).all()


def test_confidence_is_the_average_of_the_label():
    criterion = EarlyLearningRegularization(2, 3, momentum=0.7)
    criterion.observe(LOGITS, torch.tensor([1]))
    assert criterion.confidence(torch.tensor([0, 1])).tolist() == pytest.approx([0.0, 0.3 * 0.244728], abs=1e-6)


def test_forward_twice_gives_the_same_and_leaves_the_table_alone():
    criterion = EarlyLearningRegularization(1, 3)
    criterion.observe(LOGITS, torch.tensor([0]))
    before = criterion.average.rows.clone()
    assert torch.equal(criterion(LOGITS, ONE, NOW), criterion(LOGITS, ONE, NOW))
    assert torch.equal(before, criterion.average.rows)


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    criterion, other = EarlyLearningRegularization(1, 3), EarlyLearningRegularization(1, 3)
    criterion.observe(LOGITS, torch.tensor([0]))
    assert not torch.equal(criterion(LOGITS, ONE, NOW), other(LOGITS, ONE, NOW))
    other.load_state_dict(criterion.state_dict())
    for each in (criterion, other):
        each.observe(-LOGITS, torch.tensor([0]))
    assert torch.equal(criterion(LOGITS, ONE, NOW), other(LOGITS, ONE, NOW))


@pytest.mark.parametrize(
    ("name", "value"), [("strength", -1.0), ("strength", math.nan), ("momentum", 1.0), ("momentum", -0.2)]
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        EarlyLearningRegularization(2, 3, **{name: value})
