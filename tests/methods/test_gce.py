"""Generalised cross-entropy: worked values, limits, clamp and truncation."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.gce import GeneralisedCrossEntropy

NOW = Progress(0, 0, 200, 5)


def of(logits: torch.Tensor, label: torch.Tensor, progress: Progress = NOW, **options: object) -> torch.Tensor:
    return GeneralisedCrossEntropy(**options)(logits, Targets.unmixed(label, torch.arange(len(label))), progress)


def logits_of(prob: float) -> torch.Tensor:
    """Logits whose softmax gives class 0 this probability."""
    return torch.tensor([[math.log(prob), math.log1p(-prob)]], dtype=torch.float64)


ZERO = torch.tensor([0])


def test_worked_example():
    # p = 0.665241: (1 - p^0.7) / 0.7.
    loss = of(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64), ZERO)
    assert loss.item() == pytest.approx(0.354614, abs=5e-7)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_equals_loops_also_for_mixed_rows(q: float, agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    loss = GeneralisedCrossEntropy(q)(logits, Targets(label, torch.zeros_like(label), weight), NOW)
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        probs = [power / sum(powers) for power in powers]
        expected.append(sum(weight[v, b].item() * (1 - probs[label[v, b]] ** q) / q for v in range(2)))
    agreement(GeneralisedCrossEntropy, "loss", loss, expected, atol=1e-12)


def test_with_q_one_it_is_one_minus_the_probability(generator: torch.Generator):
    logits, label = torch.randn(8, 5, generator=generator), torch.randint(5, (8,), generator=generator)
    expected = [1 - logits[b].softmax(0)[label[b]].item() for b in range(8)]
    assert of(logits, label, q=1.0).tolist() == pytest.approx(expected, abs=1e-6)


def test_with_q_towards_zero_it_is_cross_entropy(generator: torch.Generator):
    logits = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(5, (8,), generator=generator)
    expected = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(of(logits, label, q=1e-6), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("q", [0.4, 0.7, 1.0])
def test_gradient_is_that_of_cross_entropy_times_a_power_of_the_probability(
    q: float, agreement, generator: torch.Generator
):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([1, 3, 0])
    of(logits, label, q=q).sum().backward()
    probs = logits.detach().softmax(1).tolist()
    expected = [
        [probs[b][y] ** q * (probs[b][k] - float(k == y)) for k in range(4)] for b, y in enumerate(label.tolist())
    ]
    agreement(GeneralisedCrossEntropy, "gradient", logits.grad, expected, atol=1e-14)


@pytest.mark.parametrize("prob", [1e-5, 1e-9])
def test_probabilities_below_eps_cost_the_same_and_give_no_gradient(prob: float):
    logits = logits_of(prob).requires_grad_()
    loss = of(logits, ZERO, q=0.7, eps=1e-4)
    loss.sum().backward()
    assert loss.item() == pytest.approx((1 - 1e-4**0.7) / 0.7, rel=1e-9)
    assert not logits.grad.any()


def test_without_eps_hopeless_labels_keep_a_finite_gradient():
    logits = torch.tensor([[-1e4, 1e4], [-20.0, 20.0]], requires_grad=True)
    loss = of(logits, torch.tensor([0, 0]), q=0.7, eps=0.0)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([1 / 0.7, 1 / 0.7])
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("prob", "kept"), [(0.05, False), (0.499, False), (0.501, True), (0.95, True)])
def test_truncation_makes_unlikely_labels_a_constant(prob: float, kept: bool, agreement):
    logits = logits_of(prob).requires_grad_()
    loss = of(logits, ZERO, NOW._replace(epoch=40), q=0.7, truncate_below=0.5)
    loss.sum().backward()
    expected = (1 - (prob if kept else 0.5) ** 0.7) / 0.7
    agreement(GeneralisedCrossEntropy, "truncated loss", loss, [expected], atol=1e-14)
    assert bool(logits.grad.any()) == kept


@pytest.mark.parametrize(("epoch", "truncates"), [(0, False), (9, False), (10, True), (50, True)])
def test_truncation_waits_for_its_epoch(epoch: int, truncates: bool):
    options = {"q": 0.7, "truncate_below": 0.5, "truncate_from": 10}
    loss = of(logits_of(0.1), ZERO, NOW._replace(epoch=epoch), **options)
    assert loss.item() == pytest.approx((1 - (0.5 if truncates else 0.1) ** 0.7) / 0.7, rel=1e-9)


def test_nothing_is_truncated_by_default():
    late = NOW._replace(epoch=199)
    assert of(logits_of(0.1), ZERO, late).item() == pytest.approx((1 - 0.1**0.7) / 0.7, rel=1e-9)


def test_half_precision_logits_are_widened_first():
    loss = of(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.bfloat16), ZERO)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.354614, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", 0.0),
        ("q", 1.2),
        ("q", math.nan),
        ("eps", -0.1),
        ("eps", 1.0),
        ("truncate_below", 0.0),
        ("truncate_below", 1.0),
    ],
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        GeneralisedCrossEntropy(**{name: value})
