"""What holds for every kind of noise that draws: a generator of its own, and labels as contracted."""

import random

import numpy as np
import pytest
import torch

from alasca_pl.noise.asymmetric import AsymmetricNoise
from alasca_pl.noise.instance import InstanceNoise
from alasca_pl.noise.matrix import MatrixNoise
from alasca_pl.noise.model import Samples
from alasca_pl.noise.pairflip import PairFlip
from alasca_pl.noise.symmetric import SymmetricNoise

KINDS = {
    "symmetric": lambda seed: SymmetricNoise(0.4, seed=seed),
    "inclusive_floor": lambda seed: SymmetricNoise(0.4, "inclusive_floor", seed=seed),
    "exclusive": lambda seed: SymmetricNoise(0.4, "exclusive", seed=seed),
    "map": lambda seed: AsymmetricNoise(0.4, {0: 1, 3: 5, 5: 3}, seed=seed),
    "double_flip": lambda seed: AsymmetricNoise(0.4, {0: 1, 3: 5, 5: 3}, double_flip=True, seed=seed),
    "groups": lambda seed: AsymmetricNoise(0.4, groups="consecutive", seed=seed),
    "instance": lambda seed: InstanceNoise(0.4, seed=seed),
    "per_class": lambda seed: InstanceNoise(0.4, "per_class", "normalised", seed=seed),
    "pairflip": lambda seed: PairFlip(0.4, seed=seed),
    "matrix": lambda seed: MatrixNoise((np.eye(10) * 0.5 + 0.05).tolist(), seed=seed),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)


def samples(split: str = "train") -> Samples:
    label = np.arange(600) % 10
    label.setflags(write=False)
    return Samples(label, np.arange(600), 10, split, pixels=lambda start, stop: IMAGES[start:stop])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_model_s_own_seed_decides(kind):
    one = KINDS[kind](3).draw(samples())
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    random.seed(7)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    model = KINDS[kind](3)
    for other in KINDS.values():
        other(3).draw(samples())
    assert model.draw(samples()).digest == one.digest
    # A second draw of the same model starts over: it keeps no state.
    assert model.draw(samples()).digest == one.digest
    assert KINDS[kind](4).draw(samples()).digest != one.digest
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("kind", KINDS)
def test_splits_have_draws_of_their_own(kind):
    noise = KINDS[kind](0)
    assert not np.array_equal(noise.draw(samples()).label, noise.draw(samples("val")).label)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_as_contracted(kind):
    labels = KINDS[kind](0).draw(samples())
    assert labels.label.dtype == np.int64
    assert labels.label.shape == (600,)
    assert 0 <= labels.label.min() <= labels.label.max() < 10
    assert labels.clean_label.tolist() == (np.arange(600) % 10).tolist()
    assert 0.05 < labels.realised_rate < 0.6
    assert labels.seed == 0
    assert labels.transition_matrix.sum(axis=1) == pytest.approx([1.0] * 10)


def test_kinds_with_the_same_seed_do_not_share_their_draw():
    kinds = ("symmetric", "groups", "instance", "pairflip")
    wrong = [KINDS[kind](0).draw(samples()).label != np.arange(600) % 10 for kind in kinds]
    for number, one in enumerate(wrong):
        for other in wrong[:number]:
            # Two independent sets with about 0.4 of the samples each share 0.16 of them; 5 sd of a binomial share.
            assert np.mean(one & other) == pytest.approx(one.mean() * other.mean(), abs=5 * (0.16 * 0.84 / 600) ** 0.5)
