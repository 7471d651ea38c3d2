"""Mixup: explicit mixes, draws that follow seed and step, weight 1 as absence."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Batch, Progress
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.mixup import Mixup

MakeBatch = Callable[..., Batch]


def at(step: int) -> Progress:
    return Progress(step // 5, step, 10, 5)


def test_each_row_is_the_mix_that_its_targets_say(agreement, make_batch: MakeBatch):
    batch = make_batch()
    batch = batch._replace(image=batch.image.double())
    image, targets = Mixup(1.0, seed=3)(batch, at(7))
    assert targets.label.shape == targets.index.shape == targets.weight.shape == (2, 6)
    place = {int(number): b for b, number in enumerate(batch.index)}
    partners, expected = set(), []
    for b in range(6):
        first, second = place[int(targets.index[0, b])], place[int(targets.index[1, b])]
        assert first == b
        partners.add(second)
        assert targets.label[0, b] == batch.label[first] and targets.label[1, b] == batch.label[second]
        one, other = targets.weight[:, b].tolist()
        assert one + other == pytest.approx(1.0)
        pixels = zip(batch.image[first].flatten().tolist(), batch.image[second].flatten().tolist())
        expected.append([one * mine + other * its for mine, its in pixels])
    agreement(Mixup, "mixed images by float32 weights", image.flatten(1), expected, atol=1e-6)
    # Partners are a permutation, and one weight serves the whole batch, of which the first sample has the larger part.
    assert partners == set(range(6))
    assert targets.weight.unique(dim=1).shape == (2, 1)
    assert targets.weight[0, 0] >= 0.5


def test_draws_follow_seed_and_step_alone(make_batch: MakeBatch):
    batch, mixer = make_batch(), Mixup(1.0, seed=3)
    first = mixer(batch, at(7))
    mixer(batch, at(8))
    torch.manual_seed(99)
    again = Mixup(1.0, seed=3)(batch, at(7))
    assert torch.equal(first[0], again[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], again[1]))
    for other in (mixer(batch, at(8)), Mixup(1.0, seed=4)(batch, at(7))):
        assert not torch.equal(first[0], other[0])
    assert mixer.state_dict() == {}


def test_the_global_state_is_left_alone(make_batch: MakeBatch):
    before = torch.get_rng_state()
    Mixup()(make_batch(), at(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("alpha", "mean"), [(1.0, 0.75), (1e6, 0.5), (1e-4, 1.0)])
def test_the_larger_share_has_the_mean_of_its_distribution(alpha: float, mean: float):
    """max(l, 1 - l) of a uniform l has mean 3/4; a concentrated one 1/2; one at the ends 1."""
    mixer = Mixup(alpha)
    shares = [mixer.own_fraction(step) for step in range(2000)]
    assert sum(shares) / 2000 == pytest.approx(mean, abs=0.01)
    assert min(shares) >= 0.5 and max(shares) <= 1.0


def test_weight_one_is_absence(make_batch: MakeBatch, generator: torch.Generator):
    batch = make_batch()
    image, targets = Mixup(0.0)(batch, at(3))
    assert torch.equal(image, batch.image)
    logits = torch.randn(6, 4, generator=generator)
    torch.testing.assert_close(
        CrossEntropy()(logits, targets, at(3)), F.cross_entropy(logits, batch.label, reduction="none"), rtol=0, atol=0
    )


@pytest.mark.parametrize("alpha", [-1.0, math.inf, math.nan])
def test_a_wrong_alpha_is_named(alpha: float):
    with pytest.raises(ValueError, match=f"alpha.*{alpha}"):
        Mixup(alpha)
