"""Active negative losses: worked values, loops, sums over labels; and the decay of absolute values."""

import math

import pytest
import torch
from torch import nn

from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
from alasca_pl.methods.active_negative import AbsoluteWeightDecay, ActiveNegative, BatchEntropy
from alasca_pl.methods.active_passive import ActivePassive

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
EACH = torch.arange(3)


def of(logits: torch.Tensor, label: torch.Tensor, **options: object) -> torch.Tensor:
    return ActiveNegative(**options)(logits, Targets.unmixed(label, torch.arange(len(label))), NOW)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"active_weight": 0, "passive_weight": 1}, [0.644007, 0.666667, 0.689326]),
        ({}, [3.702659, 5.000000, 6.297341]),
        ({"active_weight": 10, "passive_weight": 1}, [1.609253, 4.000000, 6.390747]),
        ({"loss": "focal", "active_weight": 0, "passive_weight": 1}, [0.643883, 0.666025, 0.690092]),
    ],
)
def test_worked_examples(options: dict, expected: list[float]):
    assert of(LOGITS, EACH, **options).tolist() == pytest.approx(expected, abs=1.1e-6)


@pytest.mark.parametrize(("loss", "power"), [("ce", 0.0), ("focal", 0.5)])
def test_equals_loops_also_for_mixed_rows(loss: str, power: float, agreement, generator: torch.Generator):
    # Logits so far apart that some probabilities lie below the least one.
    logits = 10 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    found = ActiveNegative(loss, 0.7, 1.3)(logits, Targets(label, torch.zeros_like(label), weight), NOW)
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        probs = [each / sum(powers) for each in powers]
        costs = [-((1 - p) ** power) * math.log(p) for p in probs]
        least = [max(p, 1e-7) for p in probs]
        negative = [-((1 - 1e-7) ** power) * math.log(1e-7) + (1 - p) ** power * math.log(p) for p in least]
        both = [0.7 * c / sum(costs) + 1.3 * (1 - n / sum(negative)) for c, n in zip(costs, negative)]
        expected.append(sum(w * both[int(y)] for w, y in zip(weight[:, b].tolist(), label[:, b])))
    agreement(ActiveNegative, "loss", found, expected, atol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_the_sum_over_labels_is_the_same_for_every_prediction(loss: str, generator: torch.Generator):
    logits = (3 * torch.randn(1, 5, generator=generator, dtype=torch.float64)).repeat(5, 1)
    for weights, total in (((1, 0), 1.0), ((0, 1), 4.0)):
        found = of(logits, torch.arange(5), loss=loss, active_weight=weights[0], passive_weight=weights[1])
        assert found.sum().item() == pytest.approx(total, rel=1e-9)


def test_limits(generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    flat = of(torch.zeros(1, 8), torch.tensor([3]), active_weight=0, passive_weight=1)
    assert flat.item() == pytest.approx(7 / 8)
    plain = ActivePassive(passive_weight=0)(logits, Targets.unmixed(label, torch.arange(6)), NOW)
    torch.testing.assert_close(of(logits, label, active_weight=1, passive_weight=0), plain)
    torch.testing.assert_close(of(logits, label, loss="focal", focal_power=0.0), of(logits, label))
    torch.testing.assert_close(of(logits + 7, label), of(logits, label), atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_certain_predictions_keep_a_finite_gradient(loss: str):
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]], requires_grad=True)
    found = of(logits, torch.tensor([0, 0]), loss=loss)
    found.sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(logits.grad).all()


def test_half_precision_logits_are_widened_first():
    loss = of(LOGITS.bfloat16(), EACH)
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([3.702659, 5.000000, 6.297341], abs=1e-5)


def test_the_decay_is_the_gradient_of_the_sum_of_absolute_values(agreement, generator: torch.Generator):
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4)).double()
    image = torch.randn(5, 2, 4, 4, generator=generator, dtype=torch.float64)
    module(image).square().mean().backward()
    AbsoluteWeightDecay(0.03)(module.parameters(), NOW)
    found = torch.cat([each.grad.flatten() for each in module.parameters()])
    module.zero_grad()
    (module(image).square().mean() + 0.03 * sum(each.abs().sum() for each in module.parameters())).backward()
    expected = torch.cat([each.grad.flatten() for each in module.parameters()])
    agreement(AbsoluteWeightDecay, "gradient", found, expected, atol=1e-14)


def test_decay_of_strength_zero_changes_no_bit_and_what_has_no_gradient_is_left_alone():
    weight, bias = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([-0.0, 0.3])
    before = weight.grad.clone()
    AbsoluteWeightDecay(0.0)([weight, bias], NOW)
    assert torch.equal(weight.grad.view(torch.int32), before.view(torch.int32))
    AbsoluteWeightDecay(0.5)([weight, bias], NOW)
    assert bias.grad is None and weight.grad.tolist() == pytest.approx([0.5, -0.2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "nce"}, "loss.*'nce'.*focal"),
        ({"active_weight": -1.0}, "active_weight.*-1.0"),
        ({"passive_weight": math.nan}, "passive_weight.*nan"),
        ({"focal_power": -0.5}, "focal_power.*-0.5"),
    ],
)
def test_a_value_outside_its_range_is_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ActiveNegative(**options)


@pytest.mark.parametrize("strength", [-1e-5, math.nan])
def test_a_negative_strength_is_named(strength: float):
    with pytest.raises(ValueError, match=f"strength.*{strength}"):
        AbsoluteWeightDecay(strength)


def entropy_of(logits: torch.Tensor) -> torch.Tensor:
    index = torch.arange(len(logits))
    output = NetworkOutput(logits, (), logits)
    return BatchEntropy()(StepView.unmixed(output, 0 * index, index, logits.sum(dim=1), NOW))


def test_the_entropy_of_the_mean_prediction(agreement, generator: torch.Generator):
    assert entropy_of(torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [0.064397] * 2, abs=1e-6
    )
    logits = 2 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    powers = [[math.exp(z) for z in row] for row in logits.tolist()]
    mean = [sum(row[k] / sum(row) for row in powers) / 5 for k in range(4)]
    expected = [math.log(4) + sum(q * math.log(q) for q in mean)] * 5
    agreement(BatchEntropy, "penalty", entropy_of(logits), expected, atol=1e-12)
    assert entropy_of(torch.eye(3).mul(1e4)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    one_class = torch.tensor([[1e4, 0.0, 0.0]] * 2, requires_grad=True)
    assert entropy_of(one_class).tolist() == pytest.approx([math.log(3)] * 2, abs=1e-5)
    entropy_of(one_class).sum().backward()
    assert torch.isfinite(one_class.grad).all()
