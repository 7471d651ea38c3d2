import math

import numpy as np
import pytest
import torch

from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import Samples
from alasca_pl.noise.symmetric import SymmetricNoise


def draw(rate: float, classes: int = 10, variant: str = "inclusive", seed: int = 0, size: int = 45_000) -> NoisyLabels:
    label = np.arange(size) % classes
    label.setflags(write=False)
    return SymmetricNoise(rate, variant, seed).draw(Samples(label, np.arange(size), classes))


@pytest.mark.parametrize(
    ("classes", "rate", "expected"),
    [
        (10, 0.2, 0.18),
        (10, 0.4, 0.36),
        (10, 0.5, 0.45),
        (10, 0.8, 0.72),
        (100, 0.2, 0.198),
        (100, 0.5, 0.495),
        (100, 0.8, 0.792),
    ],
)
def test_inclusive_rate_is_below_the_nominal_one(classes, rate, expected):
    # Of exactly r * N redrawn labels, each is wrong with chance (L - 1) / L: sd sqrt(r / L * (1 - 1 / L) / N).
    bound = 5 * math.sqrt(rate / classes * (1 - 1 / classes) / 45_000)
    assert draw(rate, classes).realised_rate == pytest.approx(expected, abs=bound)


@pytest.mark.parametrize(("classes", "rate"), [(10, 0.2), (10, 0.8), (100, 0.5), (2, 0.3)])
def test_exclusive_rate_is_the_nominal_one(classes, rate):
    bound = 5 * math.sqrt(rate * (1 - rate) / 45_000)
    assert draw(rate, classes, "exclusive").realised_rate == pytest.approx(rate, abs=bound)


@pytest.mark.parametrize(("variant", "wrong"), [("inclusive", 0.5 / 10), ("exclusive", 0.5 / 9)])
def test_transition_matrix_is_the_same_for_every_wrong_class(variant, wrong):
    matrix = draw(0.5, variant=variant).transition_matrix
    right = 1 - 9 * wrong
    for given in range(10):
        for observed in range(10):
            expected = right if given == observed else wrong
            # 4,500 samples per class; 5 sd of a binomial share.
            bound = 5 * math.sqrt(expected * (1 - expected) / 4_500)
            assert matrix[given, observed] == pytest.approx(expected, abs=bound)


@pytest.mark.parametrize(("rate", "size", "redrawn"), [(0.4, 11, 5), (0.1, 30, 3), (0.7, 10, 7), (0.01, 3, 1)])
def test_inclusive_redraws_the_smallest_whole_number_of_at_least_rate_times_n(agreement, rate, size, redrawn):
    # With a million classes a redrawn label is almost never the old one.
    label = np.zeros(size, dtype=np.int64)
    observed = SymmetricNoise(rate).corrupt(Samples(label, np.arange(size), 10**6), np.random.default_rng(0))
    agreement(SymmetricNoise, "number of redrawn labels", int((observed != label).sum()), redrawn, atol=0.0)


@pytest.mark.parametrize(("rate", "size", "redrawn"), [(0.4, 11, 4), (0.7, 10, 7), (0.29, 100, 29), (0.01, 3, 0)])
def test_inclusive_floor_redraws_the_largest_whole_number_of_at_most_rate_times_n(rate, size, redrawn):
    label = np.zeros(size, dtype=np.int64)
    noise = SymmetricNoise(rate, "inclusive_floor")
    observed = noise.corrupt(Samples(label, np.arange(size), 10**6), np.random.default_rng(0))
    assert int((observed != label).sum()) == redrawn


@pytest.mark.parametrize("variant", ["inclusive", "inclusive_floor", "exclusive"])
def test_rate_zero_changes_nothing(variant):
    labels = draw(0.0, variant=variant)
    assert np.array_equal(labels.label, labels.clean_label)
    assert labels.realised_rate == 0.0


def test_rate_one_exclusive_leaves_no_label_right():
    assert draw(1.0, variant="exclusive").realised_rate == 1.0


def test_rate_one_inclusive_leaves_one_in_ten_right():
    assert draw(1.0).realised_rate == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 45_000))


@pytest.mark.parametrize("variant", ["inclusive", "exclusive"])
def test_input_is_unchanged_and_labels_stay_in_range(variant):
    label = np.arange(1_000) % 7
    before = label.copy()
    labels = SymmetricNoise(0.9, variant).draw(Samples(label, np.arange(1_000), 7))
    assert np.array_equal(label, before)
    assert labels.label.dtype == np.int64
    assert set(labels.label.tolist()) == set(range(7))
    assert not np.shares_memory(labels.clean_label, label)


@pytest.mark.parametrize("variant", ["inclusive", "exclusive"])
def test_same_seed_same_digest_and_other_seed_other_digest(variant):
    one = draw(0.4, variant=variant, seed=3)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    assert draw(0.4, variant=variant, seed=3).digest == one.digest
    assert draw(0.4, variant=variant, seed=4).digest != one.digest


def test_splits_of_a_data_set_have_streams_of_their_own():
    label, index = np.zeros(500, dtype=np.int64), np.arange(500)
    noise = SymmetricNoise(0.5, seed=1)
    train, val = noise.draw(Samples(label, index, 10, "train")), noise.draw(Samples(label, index, 10, "val"))
    assert not np.array_equal(train.label, val.label)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(ValueError, match=rf"\[0, 1\], got {rate}"):
        SymmetricNoise(rate)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="got -3"):
        SymmetricNoise(0.4, seed=-3)


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"'both'.*inclusive, inclusive_floor, exclusive"):
        SymmetricNoise(0.4, "both")
