"""Generalised label smoothing: worked values, loops, linearity, warm-up."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.negative_label_smoothing import GeneralisedLabelSmoothing

NOW = Progress(5, 25, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
EACH = Targets.unmixed(torch.arange(3), torch.arange(3))


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [
        (-1.0, [-0.592394, 1.407606, 3.407606]),
        (-0.4, [0.007606, 1.407606, 2.807606]),
        (0.4, [0.807606, 1.407606, 2.007606]),
        (1.0, [1.407606] * 3),
    ],
)
def test_worked_examples(smoothing: float, expected: list[float]):
    assert GeneralisedLabelSmoothing(smoothing)(LOGITS, EACH, NOW).tolist() == pytest.approx(expected, abs=1.1e-6)


def test_equals_cross_entropy_with_the_smoothed_label_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    loss = GeneralisedLabelSmoothing(-0.7)(logits, Targets(label, label, weight), NOW)
    expected = []
    for b in range(4):
        total = sum(math.exp(z) for z in logits[b].tolist())
        smoothed = [1.7 * sum(weight[v, b].item() for v in range(2) if label[v, b] == k) - 0.7 / 3 for k in range(3)]
        expected.append(-sum(y * (z - math.log(total)) for y, z in zip(smoothed, logits[b].tolist())))
    agreement(GeneralisedLabelSmoothing, "loss", loss, expected, atol=1e-12)


def test_zero_and_the_warm_up_are_cross_entropy_and_the_mean_over_labels_does_not_depend_on_the_factor():
    expected = F.cross_entropy(LOGITS, EACH.label[0], reduction="none")
    for criterion in (GeneralisedLabelSmoothing(0.0), GeneralisedLabelSmoothing(-3.0, warmup_epochs=6)):
        assert torch.equal(criterion(LOGITS, EACH, NOW), expected)
    means = [GeneralisedLabelSmoothing(each)(LOGITS, EACH, NOW).mean().item() for each in (-2.0, 0.0, 0.5)]
    assert means == pytest.approx([1.407606] * 3, abs=1e-6)
    assert not torch.equal(GeneralisedLabelSmoothing(-3.0, warmup_epochs=5)(LOGITS, EACH, NOW), expected)


@pytest.mark.parametrize(("name", "value"), [("smoothing", 1.5), ("smoothing", math.nan), ("warmup_epochs", -1)])
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        GeneralisedLabelSmoothing(**{name: value})
