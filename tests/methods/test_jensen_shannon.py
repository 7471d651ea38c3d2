"""Jensen-Shannon losses: worked values, loops, limits, several views."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.jensen_shannon import JensenShannon

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
SECOND = torch.tensor([[0.5, 1.5, 0.0]] * 3, dtype=torch.float64)
EACH = torch.arange(3)


def of(logits: torch.Tensor, label: torch.Tensor, weight: float, *others: torch.Tensor, scaled=True) -> torch.Tensor:
    criterion = JensenShannon(weight, several_views=bool(others), scaled=scaled)
    return criterion(logits, Targets.unmixed(label, torch.arange(len(label))), NOW, others)


@pytest.mark.parametrize(
    ("weight", "others", "scaled", "expected"),
    [
        (0.5, (), False, [0.132958, 0.384660, 0.537785]),
        (0.5, (), True, [0.383635, 1.109895, 1.551719]),
        (0.3, (SECOND,), True, [1.027096, 1.049131, 1.943409]),
        (0.9, (SECOND,), True, [0.672409, 0.687831, 1.187492]),
    ],
)
def test_worked_examples(weight, others, scaled, expected):
    assert of(LOGITS, EACH, weight, *others, scaled=scaled).tolist() == pytest.approx(expected, abs=1.1e-6)


def entropy(probs: list[float]) -> float:
    return -sum(p * math.log(p) for p in probs if p > 0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_equals_differences_of_entropies_also_for_mixed_rows(count: int, agreement, generator: torch.Generator):
    """The entropy of the mean distribution minus the mean of the entropies."""
    logits = torch.randn(count, 4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    criterion = JensenShannon(0.4, several_views=count > 1)
    loss = criterion(logits[0], Targets(label, torch.zeros_like(label), weight), NOW, tuple(logits[1:]))
    expected = []
    for b in range(4):
        target = [sum(weight[v, b].item() for v in range(2) if label[v, b] == k) for k in range(3)]
        spread = []
        for each in logits[:, b].tolist():
            powers = [math.exp(z) for z in each]
            spread.append([power / sum(powers) for power in powers])
        weights = [0.4] + [0.6 / count] * count
        every = [target, *spread]
        mean = [sum(w * each[k] for w, each in zip(weights, every)) for k in range(3)]
        divergence = entropy(mean) - sum(w * entropy(each) for w, each in zip(weights, every))
        expected.append(divergence / -(0.6 * math.log(0.6)))
    agreement(JensenShannon, f"loss, {count} views", loss, expected, atol=1e-12)


def test_limits(generator: torch.Generator):
    assert of(LOGITS, EACH, 1e-4)[0].item() == pytest.approx(0.407601, abs=1e-6)
    # Towards 1 - p, but slowly, as one over a logarithm.
    assert of(LOGITS, EACH, 1 - 1e-5)[0].item() == pytest.approx(0.334759, abs=0.01)
    logits = 2 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    other = 2 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (6,), generator=generator)
    torch.testing.assert_close(
        of(logits, label, 1e-6), F.cross_entropy(logits, label, reduction="none"), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(of(logits, label, 0.3, logits), of(logits, label, 0.3))
    torch.testing.assert_close(of(logits, label, 0.3, other), of(other, label, 0.3, logits))
    # The divergence lies between 0 and the entropy of the weights.
    raw = of(logits, label, 0.3, other, scaled=False)
    assert (raw > 0).all() and (raw <= entropy([0.3, 0.35, 0.35])).all()


def test_certain_predictions_cost_nothing_or_a_finite_amount_and_have_a_finite_gradient():
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]], requires_grad=True)
    loss = of(logits, torch.tensor([0, 0]), 0.5)
    loss.sum().backward()
    assert loss[0].item() == pytest.approx(0.0, abs=1e-6) and loss[1].item() == pytest.approx(2.0)
    assert torch.isfinite(logits.grad).all()


def test_the_gradient_flows_through_all_views():
    views = [each.clone().requires_grad_() for each in (LOGITS, SECOND)]
    of(views[0], EACH, 0.3, views[1]).sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in views)


def test_half_precision_logits_are_widened_first():
    loss = of(LOGITS.bfloat16(), EACH, 0.5)
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([0.383635, 1.109895, 1.551719], abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.0, math.nan])
def test_a_weight_outside_its_range_is_named(weight: float):
    with pytest.raises(ValueError, match=f"label_weight.*{weight}"):
        JensenShannon(weight)
