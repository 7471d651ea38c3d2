"""Peer loss: worked values, loops over peers, its mean over all orders, the strength over a run."""

import itertools
import math
from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods import peer_loss
from alasca_pl.methods.peer_loss import PeerLoss

LAST = Progress(9, 45, 10, 5)
SPARSE = [[0, 0, 20], [0, 1, 20], [1, 2, 50], [2, 5, 50], [5, 10, 100], [10, 20, 100]]
UNIFORM = [[0, 0, 20], [0, 0.1, 20], [1, 2, 50], [2, 2.5, 50], [2.5, 3.3, 100], [3.3, 5, 100]]


def cost(logits: torch.Tensor, label: int) -> float:
    powers = [math.exp(z) for z in logits.tolist()]
    return -math.log(powers[label] / sum(powers) + 1e-5)


@pytest.mark.parametrize(("strength", "expected"), [(1.0, -0.056762), (0.5, 0.175414)])
def test_worked_example(strength: float, expected: float):
    p, other = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.5, 1.5, 0.0])
    assert cost(p, 0) - strength * cost(other, 1) == pytest.approx(expected, abs=1.1e-6)
    # The same pair of samples, of which one is the other's peer.
    criterion = PeerLoss((1, 1, 1), strength, warmup_epochs=0, scaled=False)
    with mock.patch.object(peer_loss.torch, "randperm", return_value=torch.tensor([1, 0])):
        loss = criterion(torch.stack([p, other]), Targets.unmixed(torch.tensor([0, 1]), torch.arange(2)), LAST)
    assert loss.tolist() == pytest.approx(
        [cost(p, 0) - strength * cost(p, 1), cost(other, 1) - strength * cost(other, 0)], abs=1e-6
    )


def test_equals_loops_over_the_drawn_peers_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    order = [2, 0, 3, 1]
    with mock.patch.object(peer_loss.torch, "randperm", return_value=torch.tensor(order)):
        loss = PeerLoss((1, 1, 1), 2.0, warmup_epochs=0)(logits, Targets(label, label, weight), LAST)
    expected = []
    for b in range(4):
        own, other = (
            sum(weight[v, c].item() * cost(logits[b], int(label[v, c])) for v in range(2)) for c in (b, order[b])
        )
        expected.append((own - 2 * other) / 3)
    agreement(PeerLoss, "loss with permuted labels", loss, expected, atol=1e-12)


def test_the_expected_peer_is_the_mean_over_all_orders(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    targets = Targets.unmixed(torch.tensor([0, 2, 2, 1]), torch.arange(4))
    found = []
    for order in itertools.permutations(range(4)):
        with mock.patch.object(peer_loss.torch, "randperm", return_value=torch.tensor(order)):
            found.append(PeerLoss((1, 1, 2), 0.7, 0)(logits, targets, LAST))
    loss = PeerLoss((1, 1, 2), 0.7, 0, peers="expected")(logits, targets, LAST)
    agreement(PeerLoss, "loss with expected labels", loss, torch.stack(found).mean(dim=0), atol=1e-12)


def test_the_peer_of_a_single_sample_is_the_expected_one(generator: torch.Generator):
    logits, targets = torch.randn(1, 3, generator=generator), Targets.unmixed(torch.tensor([1]), torch.tensor([0]))
    single, expected = (
        PeerLoss((1, 1, 2), 1.0, 0, peers=peers)(logits, targets, LAST) for peers in ("permuted", "expected")
    )
    assert torch.equal(single, expected)
    assert float(single.abs()) > 0.01


def test_orders_depend_on_seed_and_step_only(generator: torch.Generator):
    logits = torch.randn(8, 3, generator=generator)
    targets = Targets.unmixed(torch.arange(8) % 3, torch.arange(8))
    first = PeerLoss((3, 3, 2), seed=1)(logits, targets, LAST._replace(epoch=30))
    for seed, step, same in ((1, 45, True), (2, 45, False), (1, 46, False)):
        again = PeerLoss((3, 3, 2), seed=seed)(logits, targets, LAST._replace(epoch=30, step=step))
        assert torch.equal(first, again) == same


@pytest.mark.parametrize(
    ("segments", "epochs", "expected"),
    [
        (SPARSE, (0, 20, 39, 40, 89, 139, 239, 999), (0, 0, 1, 1, 2, 5, 10, 20)),
        (UNIFORM, (20, 39, 40, 89, 139, 239), (0, 0.1, 1, 2, 2.5, 3.3)),
        ([], (0, 19, 20, 59, 99), (0, 0, 1 / 80, 0.5, 1.0)),
    ],
)
def test_the_strength_over_a_run(segments, epochs, expected):
    criterion = PeerLoss((1, 1), segments=segments)
    found = [criterion.strength_at(Progress(epoch, 0, 100, 5)) for epoch in epochs]
    assert found == pytest.approx(expected)


def test_without_strength_it_is_cross_entropy(generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    targets = Targets.unmixed(label, torch.arange(6))
    expected = F.cross_entropy(logits, label, reduction="none")
    for criterion in (PeerLoss((1,) * 4, 0.0, 0), PeerLoss((1,) * 4, 1.0, 99)):
        torch.testing.assert_close(criterion(logits, targets, LAST), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "strength.*-1.0"),
        ({"warmup_epochs": -2}, "warmup_epochs.*-2"),
        ({"segments": [[0, 1]]}, "segments"),
        ({"segments": [[0, 1, 0]]}, "segments"),
        ({"peers": "all"}, "peers.*'all'.*expected"),
    ],
)
def test_a_value_outside_its_range_is_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        PeerLoss((1, 1), **options)
