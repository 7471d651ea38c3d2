"""Active-passive losses: worked values, loops, the sums over labels that make them robust, limits."""

import math

import pytest
import torch

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.active_passive import ActivePassive
from alasca_pl.methods.gce import GeneralisedCrossEntropy

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
EACH = torch.arange(3)


def of(logits: torch.Tensor, label: torch.Tensor, **options: object) -> torch.Tensor:
    return ActivePassive(**options)(logits, Targets.unmixed(label, torch.arange(len(label))), NOW)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"passive_weight": 0}, [0.096525, 0.333333, 0.570142]),
        ({"active_weight": 0, "passive": "mae"}, [0.334759, 0.755272, 0.909969]),
        ({"active_weight": 0}, [3.083245, 6.956308, 8.381128]),
        ({}, [3.179769, 7.289641, 8.951270]),
        ({"active_weight": 10, "passive_weight": 0.1}, [1.273571, 4.028964, 6.539533]),
        ({"passive": "mae"}, [0.431284, 1.088605, 1.480111]),
        ({"active": "nfl", "passive_weight": 0}, [0.062792, 0.325709, 0.611499]),
        ({"active_weight": 0, "passive": "agce"}, [0.875014, 1.943349, 2.327526]),
    ],
)
def test_worked_examples(options: dict, expected: list[float]):
    assert of(LOGITS, EACH, **options).tolist() == pytest.approx(expected, abs=1.1e-6)


def by_hand(name: str, probs: list[float], y: int) -> float:
    """Each loss by its definition for one sample."""
    costs = {
        "nce": [-math.log(p) for p in probs],
        "nfl": [-((1 - p) ** 0.5) * math.log(p) for p in probs],
        "ngce": [1 - p**0.7 for p in probs],
    }
    if name in costs:
        return costs[name][y] / sum(costs[name])
    p = probs[y]
    return {
        "mae": 1 - p,
        "rce": -sum(q * (0.0 if k == y else math.log(1e-4)) for k, q in enumerate(probs)),
        "agce": (2.8**3 - (1.8 + p) ** 3) / 3,
        "aul": ((1.8 - p) ** 3 - 0.8**3) / 3,
        "ael": math.exp(-p / 1.8),
    }[name]


@pytest.mark.parametrize("active", ["nce", "nfl", "ngce"])
@pytest.mark.parametrize("passive", ["mae", "rce", "agce", "aul", "ael"])
def test_equals_loops_also_for_mixed_rows(active: str, passive: str, agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    criterion = ActivePassive(active, passive, 0.7, 1.3, shift=1.8, power=3.0)
    loss = criterion(logits, Targets(label, torch.zeros_like(label), weight), NOW)
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        probs = [power / sum(powers) for power in powers]
        both = [0.7 * by_hand(active, probs, int(y)) + 1.3 * by_hand(passive, probs, int(y)) for y in label[:, b]]
        expected.append(sum(w * cost for w, cost in zip(weight[:, b].tolist(), both)))
    agreement(ActivePassive, "loss", loss, expected, atol=1e-12)


def test_gradient_of_the_normalised_loss():
    logits = LOGITS[:1].clone().requires_grad_()
    of(logits, torch.tensor([0]), passive_weight=0).sum().backward()
    assert logits.grad[0].tolist() == pytest.approx([-0.102034, 0.064030, 0.038004], abs=1e-6)


def test_the_factor_of_the_focal_loss_has_no_gradient():
    """The gradient is that of weighted cross-entropies, with weights held fixed, by finite differences."""
    logits = LOGITS[:1].clone().requires_grad_()
    of(logits, torch.tensor([1]), active="nfl", passive_weight=0).sum().backward()
    fixed = (1 - LOGITS[0].softmax(0)) ** 0.5

    def loss(values: torch.Tensor) -> float:
        costs = -fixed * values.log_softmax(0)
        return float(costs[1] / costs.sum())

    for k in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[k] = 1e-6
        slope = (loss(LOGITS[0] + step) - loss(LOGITS[0] - step)) / 2e-6
        assert logits.grad[0, k].item() == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"passive_weight": 0}, 1.0),
        ({"active": "nfl", "passive_weight": 0}, 1.0),
        ({"active": "ngce", "passive_weight": 0}, 1.0),
        ({"active_weight": 0, "passive": "mae"}, 4.0),
        ({"active_weight": 0, "passive": "rce"}, 4 * 9.210340372),
    ],
)
def test_the_sum_over_labels_is_the_same_for_every_prediction(options: dict, total: float, generator: torch.Generator):
    logits = (3 * torch.randn(1, 5, generator=generator, dtype=torch.float64)).repeat(5, 1)
    assert of(logits, torch.arange(5), **options).sum().item() == pytest.approx(total, rel=1e-9)


def test_limits(generator: torch.Generator):
    logits = 2 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (6,), generator=generator)
    assert of(torch.zeros(1, 8), torch.tensor([3]), passive_weight=0).item() == pytest.approx(1 / 8)
    torch.testing.assert_close(of(logits, label, focal_power=0, active="nfl"), of(logits, label))
    expected = GeneralisedCrossEntropy(0.7, eps=0.0)(logits, Targets.unmixed(label, torch.arange(6)), NOW)
    torch.testing.assert_close(of(logits, label, active_weight=0, passive="agce", shift=0.0, power=0.7), expected)
    torch.testing.assert_close(of(logits + 7, label), of(logits, label))


@pytest.mark.parametrize("active", ["nce", "nfl", "ngce"])
@pytest.mark.parametrize("passive", ["mae", "rce", "agce", "aul", "ael"])
def test_certain_predictions_keep_a_finite_gradient(active: str, passive: str):
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]], requires_grad=True)
    loss = of(logits, torch.tensor([0, 0]), active=active, passive=passive, shift=1.0, power=0.5)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    assert logits.grad.sum(dim=1).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_half_precision_logits_are_widened_first():
    loss = of(LOGITS.bfloat16(), EACH)
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([3.179769, 7.289641, 8.951270], abs=1e-5)


def test_both_halves_of_a_batch_cost_what_the_whole_does(generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    halves = torch.cat([of(logits[:3], label[:3]), of(logits[3:], label[3:])])
    torch.testing.assert_close(of(logits, label), halves)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(of(logits[:, order], torch.argsort(order)[label]), of(logits, label))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active": "ce"}, "active.*'ce'.*nce"),
        ({"passive": "nce"}, "passive.*'nce'.*mae"),
        ({"active_weight": -1.0}, "active_weight.*-1.0"),
        ({"passive_weight": math.nan}, "passive_weight.*nan"),
        ({"log_zero": 0.0}, "log_zero.*0.0"),
        ({"focal_power": -0.5}, "focal_power.*-0.5"),
        ({"gce_power": 1.5}, "gce_power.*1.5"),
        ({"power": 0.0}, "power.*0.0"),
        ({"passive": "aul", "shift": 0.5}, "shift.*0.5"),
        ({"passive": "ael", "shift": 0.0}, "shift.*0.0"),
        ({"passive": "agce", "shift": -0.1}, "shift.*-0.1"),
    ],
)
def test_a_value_outside_its_range_is_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ActivePassive(**options)
