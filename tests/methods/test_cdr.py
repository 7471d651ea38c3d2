"""Critical parameters: a loop over all weights, its limits, the schedule, the estimate."""

import math

import pytest
import torch
from torch import nn

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress
from alasca_pl.methods.cdr import CriticalParameters


def at(epoch: int) -> Progress:
    return Progress(epoch, epoch * 5, 100, 5)


def make_module(generator: torch.Generator) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4)).double()
    for each in module.parameters():
        each.data = torch.randn(each.shape, generator=generator, dtype=torch.float64)
        each.grad = torch.randn(each.shape, generator=generator, dtype=torch.float64)
    return module


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [each.grad.clone() for each in module.parameters()]


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.9, 0.995])
def test_equals_a_loop_over_all_weights(rate: float, agreement, generator: torch.Generator):
    module = make_module(generator)
    before = gradients(module)
    importance = []
    for each in module.parameters():
        if each.ndim in (2, 4):
            importance += [abs(w * g) for w, g in zip(each.flatten().tolist(), each.grad.flatten().tolist())]
    count = int((1 - rate) * len(importance))
    threshold = sorted(importance, reverse=True)[count - 1] if count else math.inf
    CriticalParameters(rate)(module.parameters(), at(0))
    kept, found, expected = 0, [], []
    for each, old in zip(module.parameters(), before):
        if each.ndim not in (2, 4):
            assert torch.equal(each.grad, old)
            continue
        for w, g, new in zip(each.flatten().tolist(), old.flatten().tolist(), each.grad.flatten().tolist()):
            critical = abs(w * g) >= threshold
            kept += critical
            found.append(new)
            expected.append((1 - rate) * g if critical else 0.0)
    assert kept == count
    agreement(CriticalParameters, "gradient", found, expected, atol=1e-15)


def test_rate_zero_changes_no_bit_and_rate_one_leaves_nothing(generator: torch.Generator):
    module = make_module(generator)
    before = gradients(module)
    CriticalParameters(0.0)(module.parameters(), at(0))
    assert all(torch.equal(one, other) for one, other in zip(gradients(module), before))
    CriticalParameters(1.0)(module.parameters(), at(0))
    for each, old in zip(module.parameters(), before):
        assert torch.equal(each.grad, old if each.ndim == 1 else torch.zeros_like(old))


def test_ties_with_the_smallest_kept_are_kept():
    weight = nn.Parameter(torch.tensor([[1.0, 2.0, 1.0, 0.5]]))
    weight.grad = torch.tensor([[2.0, 1.0, -2.0, 1.0]])
    CriticalParameters(0.75)([weight], at(0))
    assert weight.grad.tolist() == [[0.5, 0.25, -0.5, 0.0]]


def test_the_share_is_of_all_weights_together():
    large, small = nn.Parameter(torch.full((1, 4), 10.0)), nn.Parameter(torch.ones(1, 4))
    large.grad, small.grad = torch.ones(1, 4), torch.ones(1, 4)
    CriticalParameters(0.5)([large, small], at(0))
    assert large.grad.tolist() == [[0.5] * 4]
    assert small.grad.tolist() == [[0.0] * 4]


def test_rounding_does_not_lose_a_weight():
    weight = nn.Parameter(torch.arange(1.0, 11.0).reshape(1, 10))
    weight.grad = torch.ones(1, 10)
    CriticalParameters(0.9)([weight], at(0))
    assert weight.grad.nonzero().tolist() == [[0, 9]]


def test_weights_without_gradient_and_empty_groups_are_no_trouble():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    bias.grad = torch.ones(2)
    CriticalParameters(0.5)([weight, bias], at(0))
    CriticalParameters(0.5)([], at(0))
    assert weight.grad is None
    assert bias.grad.tolist() == [1.0, 1.0]


def test_a_gradient_that_is_no_number_stays_so():
    weight = nn.Parameter(torch.ones(1, 3))
    weight.grad = torch.tensor([[1.0, math.nan, 3.0]])
    CriticalParameters(0.5)([weight], at(0))
    assert weight.grad.isnan().any()


def test_the_gradual_schedule_by_hand(agreement):
    constant, gradual = CriticalParameters(0.38), CriticalParameters(0.38, gradual=True)
    assert [constant.kept_fraction(epoch) for epoch in (0, 5, 50)] == pytest.approx([0.62] * 3)
    found = [gradual.kept_fraction(epoch) for epoch in (0, 1, 10, 19, 20, 90)]
    agreement(
        CriticalParameters, "gradual schedule", found, [1.0, 1 - 0.38 / 19, 1 - 0.2, 0.62, 0.62, 0.62], atol=1e-14
    )
    assert CriticalParameters(0.4, gradual=True, gradual_epochs=1).kept_fraction(0) == pytest.approx(0.6)


def test_the_gradual_schedule_replaces_both_the_share_and_the_factor():
    weight = nn.Parameter(torch.arange(1.0, 11.0).reshape(1, 10))
    weight.grad = torch.ones(1, 10)
    # Halfway to a rate of 0.4: eight of ten are kept and multiplied by 0.8.
    CriticalParameters(0.4, gradual=True, gradual_epochs=21)([weight], at(10))
    assert weight.grad[0].tolist() == pytest.approx([0.0] * 2 + [0.8] * 8)


def losses_with(wrong: int, generator: torch.Generator) -> torch.Tensor:
    losses = 0.1 + 0.02 * torch.rand(1, 100, generator=generator)
    losses[:, :wrong] += 3.0
    return losses


def test_an_estimate_is_made_once_and_used_from_then_on(generator: torch.Generator):
    transform = CriticalParameters("estimated", estimate_epoch=3)
    module = make_module(generator)
    before = gradients(module)
    transform(module.parameters(), at(2))
    assert all(torch.equal(one, other) for one, other in zip(gradients(module), before))
    assert transform.scan_request(at(2)) is None
    assert transform.scan_request(at(3)) == ScanRequest(losses=True, probs=True)
    transform.receive_scan(ScanResult(torch.zeros(100, dtype=torch.int64), losses_with(30, generator)), at(3))
    assert transform.scan_request(at(3)) is None
    assert transform.kept_fraction(3) == pytest.approx(0.7, abs=0.02)
    assert transform.scan_request(at(4)) is None
    assert transform.kept_fraction(4) == pytest.approx(0.7, abs=0.02)
    transform(module.parameters(), at(4))
    assert not torch.equal(module[0].weight.grad, before[0])


def test_a_gradual_fall_starts_at_the_estimate(generator: torch.Generator):
    transform = CriticalParameters("estimated", gradual=True, gradual_epochs=11, estimate_epoch=3)
    transform.receive_scan(ScanResult(torch.zeros(100, dtype=torch.int64), losses_with(40, generator)), at(3))
    assert [transform.kept_fraction(epoch) for epoch in (3, 8, 13, 30)] == pytest.approx([1.0, 0.8, 0.6, 0.6], abs=0.02)


def test_saved_and_loaded_it_keeps_its_estimate(generator: torch.Generator):
    transform, other = CriticalParameters("estimated"), CriticalParameters("estimated")
    transform.receive_scan(ScanResult(torch.zeros(100, dtype=torch.int64), losses_with(30, generator)), at(10))
    other.load_state_dict(transform.state_dict())
    assert other.kept_fraction(12) == transform.kept_fraction(12) < 1.0
    assert other.scan_request(at(12)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_rate": "oracle"}, "'oracle'.*estimated"),
        ({"noise_rate": "nominal"}, "'nominal'.*estimated"),
        ({"noise_rate": 1.5}, r"noise_rate.*1\.5"),
        ({"noise_rate": math.nan}, "noise_rate.*nan"),
        ({"gradual_epochs": 0}, "gradual_epochs.*0"),
        ({"estimate_epoch": -1}, "estimate_epoch.*-1"),
    ],
)
def test_wrong_values_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        CriticalParameters(**options)
