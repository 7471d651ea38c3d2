"""VolMinNet: its first matrix, loops, gradients of the matrix, limits."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.volminnet import VolumeMinimisation

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
EACH = Targets.unmixed(torch.arange(3), torch.arange(3))


@pytest.mark.parametrize(
    ("classes", "start", "kept", "lost", "volume"),
    [
        (3, -2.0, 0.807490, 0.096255, -0.681506),
        (10, -2.0, 0.482433, 0.057507, -7.702569),
        (100, -4.5, 0.478994, 0.005263, -73.964309),
    ],
)
def test_the_first_matrix(classes, start, kept, lost, volume):
    matrix = VolumeMinimisation(classes, start=start).double().matrix()
    assert matrix[0, 0].item() == pytest.approx(kept, abs=1e-6)
    assert matrix[0, 1].item() == pytest.approx(lost, abs=1e-6)
    assert matrix.logdet().item() == pytest.approx(volume, abs=1e-5)
    assert VolumeMinimisation(3, strength=0.0)(LOGITS, EACH, NOW)[0].item() == pytest.approx(0.563176, abs=1e-6)


def test_equals_loops_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    criterion = VolumeMinimisation(3, strength=0.3).double()
    criterion.free.data = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    free = criterion.free.tolist()
    raised = [[1.0 if i == j else 1 / (1 + math.exp(-free[i][j])) for j in range(3)] for i in range(3)]
    t = [[value / sum(row) for value in row] for row in raised]
    volume = sum(
        t[0][a] * t[1][b] * t[2][c] * sign
        for a, b, c, sign in ((0, 1, 2, 1), (1, 2, 0, 1), (2, 0, 1, 1), (2, 1, 0, -1), (1, 0, 2, -1), (0, 2, 1, -1))
    )
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        p = [power / sum(powers) for power in powers]
        costs = [-math.log(sum(p[i] * t[i][y] for i in range(3))) for y in range(3)]
        mixed = sum(weight[v, b].item() * costs[int(label[v, b])] for v in range(2))
        expected.append(mixed + 0.3 * math.log(abs(volume)))
    loss = criterion(logits, Targets(label, label, weight), NOW)
    agreement(VolumeMinimisation, "loss", loss, expected, atol=1e-12)


def test_the_matrix_learns_and_its_diagonal_is_not_used():
    criterion = VolumeMinimisation(3)
    ((group,),) = (criterion.parameter_groups(),)
    assert group["params"] == [criterion.free]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 0.0)
    criterion(LOGITS, EACH, NOW).mean().backward()
    slopes = criterion.free.grad
    assert not slopes.diagonal().any() and (slopes != 0).sum() == 6


def test_limits(generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    targets = Targets.unmixed(label, torch.arange(6))
    closed = VolumeMinimisation(4, start=-60.0)
    torch.testing.assert_close(closed(logits, targets, NOW), F.cross_entropy(logits, label, reduction="none"))
    matrix = VolumeMinimisation(4, start=3.0).matrix()
    assert (matrix > 0).all() and matrix.sum(dim=1).tolist() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(
    ("name", "value"), [("strength", -1.0), ("lr", -0.1), ("momentum", 1.0), ("strength", math.nan)]
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        VolumeMinimisation(3, **{name: value})
