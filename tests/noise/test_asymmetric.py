import math

import numpy as np
import pytest

from alasca_pl.noise.asymmetric import AsymmetricNoise
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import Samples

# truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse
CIFAR10_MAP = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
BIRD, CAT, DEER, DOG, TRUCK = 2, 3, 4, 5, 9

# Superclass of each fine class of CIFAR-100, from the label file of CIFAR-N.
TABLE = """
    4 1 14 8 0 6 7 7 18 3   3 14 9 18 7 11 3 9 7 11   6 11 5 10 7 6 13 15 3 15
    0 11 1 10 12 14 16 9 11 5   5 19 8 8 15 13 14 17 18 10   16 4 17 4 2 0 17 4 18 17
    10 3 2 12 12 16 12 1 9 19   2 10 0 1 16 12 9 13 15 13   16 19 2 4 6 19 5 5 8 19
    18 1 2 15 6 0 17 8 14 13
"""
SUPERCLASS = [int(number) for number in TABLE.split()]


def draw(noise: AsymmetricNoise, classes: int = 10, size: int = 45_000) -> NoisyLabels:
    label = np.arange(size) % classes
    label.setflags(write=False)
    return noise.draw(Samples(label, np.arange(size), classes))


def wrong_by_class(labels: NoisyLabels) -> list[float]:
    return [float(np.mean(labels.label[labels.clean_label == k] != k)) for k in range(labels.num_classes)]


def test_by_clean_label_every_mapped_class_has_the_nominal_rate(agreement):
    labels = draw(AsymmetricNoise(0.4, CIFAR10_MAP))
    # 4,500 samples per class: ceil(0.4 * 4500) = 1,800 flip, no chance involved.
    expected = [0.4 if k in CIFAR10_MAP else 0.0 for k in range(10)]
    agreement(AsymmetricNoise, "rate of each class", wrong_by_class(labels), expected, atol=1e-12)
    assert labels.realised_rate == pytest.approx(0.20, abs=1e-12)
    for source, target in CIFAR10_MAP.items():
        assert labels.transition_matrix[source, target] == pytest.approx(0.4)


def test_double_flip_moves_cats_back():
    """Values by hand for 4,500 samples per class at rate 0.4.

    Class 3 comes first: 1,800 cats become dogs. Class 5 then holds 6,300 samples; 2,520 of them become cats, on average
    1,800 dogs (0.40 of them) and 720 of the moved cats, so that 1,080 cats (0.24) stay wrong.
    """
    labels = draw(AsymmetricNoise(0.4, CIFAR10_MAP, double_flip=True))
    wrong = wrong_by_class(labels)
    assert [wrong[k] for k in (BIRD, DEER, TRUCK)] == [0.4, 0.4, 0.4]
    assert [wrong[k] for k in (0, 1, 6, 7, 8)] == [0.0] * 5
    # How many of the 2,520 drawn from 6,300 are among the 1,800 moved cats is hypergeometric.
    sd = math.sqrt(2_520 * (1_800 / 6_300) * (4_500 / 6_300) * (6_300 - 2_520) / (6_300 - 1))
    assert wrong[CAT] == pytest.approx(0.24, abs=5 * sd / 4_500)
    assert wrong[DOG] == pytest.approx(0.40, abs=5 * sd / 4_500)
    assert labels.realised_rate == pytest.approx(0.184, abs=2 * 5 * sd / 45_000)
    # Whatever the draw: classes 3 and 5 only exchange samples, 1,800 one way and 2,520 the other.
    assert int((labels.label == CAT).sum()) == 4_500 - 1_800 + 2_520


def test_double_flip_at_rate_one_brings_all_cats_home():
    labels = draw(AsymmetricNoise(1.0, CIFAR10_MAP, double_flip=True))
    assert wrong_by_class(labels) == [1.0 if k in (BIRD, DEER, DOG, TRUCK) else 0.0 for k in range(10)]


@pytest.mark.parametrize("double_flip", [False, True])
def test_rate_zero_changes_nothing(double_flip):
    assert draw(AsymmetricNoise(0.0, CIFAR10_MAP, double_flip=double_flip)).realised_rate == 0.0


def test_rate_one_moves_every_mapped_sample_to_its_target(agreement):
    labels = draw(AsymmetricNoise(1.0, CIFAR10_MAP))
    expected = [CIFAR10_MAP.get(int(k), int(k)) for k in labels.clean_label]
    agreement(AsymmetricNoise, "labels at rate 1", labels.label, expected, atol=0.0)


def test_the_number_of_flips_is_rounded_up_within_each_class():
    label = np.array([0] * 7 + [1] * 11 + [2] * 5)
    labels = AsymmetricNoise(0.3, {0: 2, 1: 2}).draw(Samples(label, np.arange(23), 3))
    # ceil(2.1) = 3 and ceil(3.3) = 4.
    assert [int((labels.label[label == k] != k).sum()) for k in range(3)] == [3, 4, 0]


def test_the_order_of_the_map_makes_no_difference():
    backwards = dict(reversed(CIFAR10_MAP.items()))
    one, other = (draw(AsymmetricNoise(0.4, m, double_flip=True)) for m in (CIFAR10_MAP, backwards))
    assert one.digest == other.digest


def test_consecutive_groups_flip_to_the_next_id_of_the_block():
    labels = draw(AsymmetricNoise(0.4, groups="consecutive"), 100)
    moved = labels.label != labels.clean_label
    for clean, observed in zip(labels.clean_label[moved].tolist(), labels.label[moved].tolist()):
        assert observed == 5 * (clean // 5) + (clean + 1) % 5
    assert labels.realised_rate == pytest.approx(0.4, abs=5 * math.sqrt(0.4 * 0.6 / 45_000))
    # 450 samples per class, 5 sd for each.
    assert wrong_by_class(labels) == pytest.approx([0.4] * 100, abs=5 * math.sqrt(0.4 * 0.6 / 450))


def test_only_six_classes_flip_within_their_superclass_with_consecutive_groups():
    labels = draw(AsymmetricNoise(1.0, groups="consecutive"), 100, 100)
    assert sum(SUPERCLASS[c] == SUPERCLASS[o] for c, o in zip(labels.clean_label, labels.label)) == 6


def test_superclass_groups_flip_to_the_next_fine_class_of_the_superclass():
    labels = draw(AsymmetricNoise(1.0, groups="superclass"), 100, 100)
    for clean, observed in enumerate(labels.label.tolist()):
        family = [fine for fine in range(100) if SUPERCLASS[fine] == SUPERCLASS[clean]]
        assert len(family) == 5
        assert observed == next((fine for fine in family if fine > clean), family[0])


def test_superclass_groups_keep_every_flip_within_its_superclass():
    labels = draw(AsymmetricNoise(0.4, groups="superclass"), 100)
    table = np.array(SUPERCLASS)
    assert np.array_equal(table[labels.label], table[labels.clean_label])
    assert labels.realised_rate == pytest.approx(0.4, abs=5 * math.sqrt(0.4 * 0.6 / 45_000))


def test_listed_groups_form_cycles_and_leave_other_classes_alone():
    labels = draw(AsymmetricNoise(1.0, groups=[[0, 4, 2], [1]]), 6, 60)
    expected = {0: 4, 4: 2, 2: 0, 1: 1, 3: 3, 5: 5}
    assert labels.label.tolist() == [expected[int(k)] for k in labels.clean_label]


def test_a_class_in_two_groups_is_refused():
    with pytest.raises(ValueError, match="0"):
        draw(AsymmetricNoise(0.6, groups=[[0, 1], [0, 2]]), 3, 30)


@pytest.mark.parametrize("options", [{"class_map": CIFAR10_MAP}, {"groups": "consecutive"}])
def test_input_is_unchanged_and_seeds_decide(options):
    label = np.arange(2_000) % 10
    before = label.copy()
    digests = [
        AsymmetricNoise(0.4, **options, seed=s).draw(Samples(label, np.arange(2_000), 10)).digest for s in (5, 5, 6)
    ]
    assert np.array_equal(label, before)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(ValueError, match=rf"\[0, 1\], got {rate}"):
        AsymmetricNoise(rate, CIFAR10_MAP)


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({}, 10, "neither"),
        ({"class_map": {0: 1}, "groups": "consecutive"}, 10, "both"),
        ({"groups": "families"}, 10, "'families'.*consecutive, superclass"),
        ({"groups": "consecutive"}, 12, "12"),
        ({"groups": "superclass"}, 10, "100 classes.*10"),
        ({"class_map": {0: 10}}, 10, "0 -> 10.*0 to 9"),
        ({"class_map": {-1: 0}}, 10, "-1 -> 0"),
        ({"groups": [[0, 10]]}, 10, "class 10.*0 to 9"),
    ],
)
def test_a_map_or_groups_that_do_not_fit_are_refused(options, classes, message):
    with pytest.raises(ValueError, match=message):
        draw(AsymmetricNoise(0.4, **options), classes, 100)
