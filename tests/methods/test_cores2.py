"""CORES2: loss, ramp and sieve by hand, limits, and the gradient's division."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.cores2 import ConfidenceSieve, ConfidentCrossEntropy, GradientOverStrength, ramped_strength
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep

LOGITS = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64).expand(3, 3)
EVERY = Targets.unmixed(torch.arange(3), torch.arange(3))


def at(epoch: int) -> Progress:
    return Progress(epoch, 0, 100, 10)


def costs(logits: list[float]) -> list[float]:
    total = sum(math.exp(each) for each in logits)
    return [-math.log(math.exp(each) / total + 1e-8) for each in logits]


def test_ramp_of_the_reference_sheet(agreement):
    found = [ramped_strength(epoch, 2.0, 10, 30) for epoch in range(100)]
    assert [round(found[epoch], 6) for epoch in (9, 10, 11, 20, 25, 39, 40)] == [
        0.0, 0.0, 0.068966, 0.689655, 1.034483, 2.0, 2.0,
    ]  # fmt: skip
    expected = [2.0 * min(max(epoch - 10, 0), 29) / 29 for epoch in range(100)]
    agreement(ramped_strength, "ramp of beta", found, expected, atol=1e-14)


@pytest.mark.parametrize(
    ("counts", "strength", "expected"),
    [
        ((5, 5, 5), 1.0, [-1.0, 0.0, 1.0]),
        ((5, 5, 5), 2.0, [-2.407606, -1.407606, -0.407606]),
        ((5, 3, 2), 2.0, [-1.807606, -0.807606, 0.192394]),
    ],
)
def test_losses_of_the_reference_sheet(counts: tuple[int, ...], strength: float, expected: list[float]):
    loss = ConfidentCrossEntropy(counts, strength)(LOGITS, EVERY, at(50))
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_loss_equals_loops_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    label, share = torch.randint(4, (2, 5), generator=generator), torch.rand(5, generator=generator).double()
    targets = Targets(label, torch.zeros_like(label), torch.stack([share, 1 - share]))
    counts = (7, 1, 0, 2)
    expected = []
    for b in range(5):
        row = costs(logits[b].tolist())
        mixed = share[b].item() * row[label[0, b]] + (1 - share[b].item()) * row[label[1, b]]
        beta = 2.0 * 15 / 29
        expected.append(mixed - beta * sum(count / 10 * cost for count, cost in zip(counts, row)))
    found = ConfidentCrossEntropy(counts)(logits, targets, at(25))
    # The authors bound the costs of the prior's labels only.
    agreement(ConfidentCrossEntropy, "loss", found, expected, atol=1e-6)


def test_sieve_of_the_reference_sheet():
    keep = ConfidenceSieve(start_epoch=0)
    assert keep(torch.zeros(1, 3), [LOGITS], EVERY, at(0)).tolist() == [[1.0, 1.0, 0.0]]
    uniform = torch.full((3, 3), 0.3)
    assert keep(torch.zeros(1, 3), [uniform], EVERY, at(0)).tolist() == [[1.0, 1.0, 1.0]]


def test_sieve_equals_loops(agreement, generator: torch.Generator):
    logits = [3.0 * torch.randn(20, 6, generator=generator) for _ in range(2)]
    label = torch.randint(6, (20,), generator=generator)
    found = ConfidenceSieve(0)(torch.zeros(2, 20), logits, Targets.unmixed(label, torch.arange(20)), at(0))
    rows = [[costs(row) for row in each.tolist()] for each in logits]
    expected = [[float(row[y] <= sum(row) / 6) for row, y in zip(each, label.tolist())] for each in rows]
    assert 0.1 < float(found.mean()) < 0.9
    agreement(ConfidenceSieve, "sieve", found, expected, atol=0.0)


def test_nothing_is_sieved_before_its_epoch():
    keep = ConfidenceSieve(start_epoch=31)
    rows = [keep(torch.zeros(1, 3), [LOGITS], EVERY, at(epoch)).tolist()[0] for epoch in (0, 30, 31)]
    assert rows == [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]


def test_the_predicted_class_always_stays(generator: torch.Generator):
    for scale in (0.0, 1.0, 100.0):
        logits = scale * torch.randn(50, 5, generator=generator)
        targets = Targets.unmixed(logits.argmax(dim=1), torch.arange(50))
        assert ConfidenceSieve(0)(torch.zeros(1, 50), [logits], targets, at(0)).min() == 1.0


def test_limits_of_the_loss(generator: torch.Generator):
    logits = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    targets = Targets.unmixed(torch.arange(9) % 3, torch.arange(9))
    plain = CrossEntropy()(logits, targets, at(50))
    # Strength 0, and before the ramp.
    assert torch.equal(ConfidentCrossEntropy((1, 1, 1), 0.0)(logits, targets, at(50)), plain)
    assert torch.equal(ConfidentCrossEntropy((1, 1, 1))(logits, targets, at(10)), plain)
    # A prior of one class gives (1 - beta) CE there.
    loss = ConfidentCrossEntropy((4, 0, 0), 0.6)(logits, targets, at(50))
    torch.testing.assert_close(loss[::3], 0.4 * plain[::3], atol=1e-6, rtol=0.0)
    # With beta 1 and a uniform prior the losses of all labels sum to 0, and a shift of the logits changes nothing.
    uniform = ConfidentCrossEntropy((1, 1, 1), 1.0)
    every = Targets.unmixed(torch.arange(3), torch.arange(3))
    assert uniform(logits[:1].expand(3, 3), every, at(50)).sum().abs() < 1e-6
    torch.testing.assert_close(uniform(logits + 5.0, targets, at(50)), uniform(logits, targets, at(50)))
    assert uniform(1e4 * logits, targets, at(50)).isfinite().all()


def test_a_step_is_the_mean_over_what_stays(make_network: Callable[..., Network], make_batch: Callable[..., Batch]):
    network, batch = make_network(0, heads=()), make_batch(size=8)
    criterion = ConfidentCrossEntropy((1, 1, 1, 1))
    result = SupervisedStep()(Method([network], [criterion], selector=ConfidenceSieve()), batch, at(40))
    kept = result.weight[0].bool()
    assert 0 < int(kept.sum()) < 8
    losses = criterion(network(batch.image).logits, Targets.unmixed(batch.label, batch.index), at(40))
    torch.testing.assert_close(result.loss, losses[kept].mean())


def test_gradients_are_divided_like_the_authors_learning_rate(agreement):
    rates = []
    for epoch in (11, 25, 39, 49):
        weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weight.grad = torch.ones(1, dtype=torch.float64)
        GradientOverStrength()([weight, torch.nn.Parameter(torch.zeros(2))], at(epoch))
        torch.optim.SGD([weight], lr=0.1).step()
        rates.append(-weight.item())
    agreement(GradientOverStrength, "rate", rates, [0.093548, 0.049153, 0.033333, 0.033333], atol=1e-6)
    before: Tensor = torch.ones(3)
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = before.clone()
    GradientOverStrength()([weight], at(10))
    assert torch.equal(weight.grad, before)


@pytest.mark.parametrize(
    ("name", "value"), [("strength", -1.0), ("strength", math.nan), ("start_epoch", -1), ("ramp_epochs", 1.5)]
)
def test_a_value_outside_its_range_is_named(name: str, value: object):
    for make in (lambda **given: ConfidentCrossEntropy((1, 1), **given), GradientOverStrength):
        with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
            make(**{name: value})
    with pytest.raises(ValueError, match="start_epoch must be"):
        ConfidenceSieve(-1)
