"""Symmetric cross-entropy: worked values, the reverse term by its definition, limits."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.sce import SymmetricCrossEntropy

NOW = Progress(0, 0, 10, 5)


@pytest.mark.parametrize(
    ("ce_weight", "reverse_weight", "log_zero", "expected"),
    [
        (0.0, 1.0, -4.0, 1.339036),
        (0.0, 1.0, math.log(1e-4), 3.083245),
        (0.1, 1.0, -4.0, 1.379797),
        (1.0, 0.4, -4.0, 0.943220),
    ],
)
def test_worked_examples(ce_weight: float, reverse_weight: float, log_zero: float, expected: float):
    criterion = SymmetricCrossEntropy(ce_weight, reverse_weight, log_zero)
    targets = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))
    loss = criterion(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64), targets, NOW)
    assert loss.item() == pytest.approx(expected, abs=2e-6)


def test_equals_its_definition_with_loops_over_classes_also_for_mixed_rows(agreement, generator: torch.Generator):
    """Reverse term: -sum over classes of p_k times log of the label, with ``log_zero`` for log 0."""
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    loss = SymmetricCrossEntropy(0.3, 0.9, -5.0)(logits, Targets(label, torch.zeros_like(label), weight), NOW)
    expected = [0.0] * 4
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        probs = [power / sum(powers) for power in powers]
        for v in range(2):
            y = int(label[v, b])
            reverse = -sum(probs[k] * (0.0 if k == y else -5.0) for k in range(3))
            expected[b] += weight[v, b].item() * (0.3 * -math.log(probs[y]) + 0.9 * reverse)
    agreement(SymmetricCrossEntropy, "loss", loss, expected, atol=1e-12)


def test_a_clamped_label_enters_the_cross_entropy_too(agreement, generator: torch.Generator):
    """Both terms by their definitions with the label (1, 1e-4, 1e-4) in place of (1, 0, 0)."""
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([0, 2, 1, 1])
    criterion = SymmetricCrossEntropy(1.0, 0.4, math.log(1e-4), clamp_label=True)
    loss = criterion(logits, Targets.unmixed(label, torch.arange(4)), NOW)
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        probs = [power / sum(powers) for power in powers]
        clamped = [1.0 if k == int(label[b]) else 1e-4 for k in range(3)]
        ce = -sum(y * math.log(p) for y, p in zip(clamped, probs))
        reverse = -sum(p * math.log(y) for y, p in zip(clamped, probs))
        expected.append(ce + 0.4 * reverse)
    agreement(SymmetricCrossEntropy, "loss with clamped label", loss, expected, atol=1e-12)


def test_without_the_reverse_term_it_is_cross_entropy(generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    loss = SymmetricCrossEntropy(1.0, 0.0)(logits, Targets.unmixed(label, torch.arange(6)), NOW)
    torch.testing.assert_close(loss, F.cross_entropy(logits, label, reduction="none"))


def test_the_reverse_term_is_bounded():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    targets = Targets.unmixed(torch.tensor([0, 0]), torch.arange(2))
    assert SymmetricCrossEntropy(0.0, 1.0, -4.0)(logits, targets, NOW).tolist() == [0.0, 4.0]


@pytest.mark.parametrize("label", [0, 1])
def test_saturated_predictions_keep_a_finite_gradient(label: int):
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    SymmetricCrossEntropy()(logits, Targets.unmixed(torch.tensor([label]), torch.tensor([0])), NOW).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_defaults_are_those_for_cifar10():
    criterion = SymmetricCrossEntropy()
    assert (criterion.ce_weight, criterion.reverse_weight, criterion.log_zero) == (0.1, 1.0, -4.0)


@pytest.mark.parametrize(
    ("name", "value"), [("ce_weight", -0.1), ("reverse_weight", -2.0), ("log_zero", 0.0), ("log_zero", 4.0)]
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        SymmetricCrossEntropy(**{name: value})


@pytest.mark.parametrize("name", ["ce_weight", "reverse_weight"])
def test_a_weight_that_is_no_number_is_named(name: str):
    with pytest.raises(ValueError, match=f"{name}.*nan"):
        SymmetricCrossEntropy(**{name: math.nan})
