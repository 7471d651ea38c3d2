import math
import tracemalloc

import numpy as np
import pytest
from scipy.stats import truncnorm

from alasca_pl.noise import instance
from alasca_pl.noise.instance import InstanceNoise, channel_statistics, instance_labels, truncated_normal
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import Samples


def pictures(size: int = 500, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, *shape), dtype=np.uint8)


def samples(images: np.ndarray, classes: int = 10, split: str = "train") -> Samples:
    label = np.arange(len(images)) % classes
    label.setflags(write=False)
    return Samples(label, np.arange(len(images)), classes, split, pixels=lambda start, stop: images[start:stop])


def by_loop(images, label, flip_rate, uniform, matrices, mean, std) -> list[int]:
    """The definition, sample by sample, with one (D, K) matrix per sample and pixels in the order height, width, channel."""
    observed = []
    for image, given, q, u, matrix in zip(images, label.tolist(), flip_rate, uniform, matrices):
        if u >= q:
            observed.append(given)
            continue
        flat = ((image.astype(np.float64) - mean) / std).reshape(-1)
        score = [math.fsum(flat * matrix[:, k]) for k in range(matrix.shape[1])]
        highest = max(s for k, s in enumerate(score) if k != given)
        weight = [0.0 if k == given else math.exp(s - highest) for k, s in enumerate(score)]
        passed, goal = 0.0, u / q * sum(weight)
        for k, w in enumerate(weight):
            passed += w
            if goal < passed:
                observed.append(k)
                break
    return observed


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize("normalised", [False, True])
def test_labels_equal_those_of_a_loop_over_samples(agreement, groups, normalised, scale):
    """With a scale of 1e-4, raw scores are of the order of 1, so that the softmax matters and not only its maximum."""
    rng = np.random.default_rng(1)
    images, label = pictures(), np.arange(500) % 5
    projections = rng.standard_normal((groups, 3, 64, 5)) * (1.0 if normalised else scale)
    slot = label if groups == 5 else np.zeros(500, dtype=np.int64)
    flip_rate, uniform = rng.random(500), rng.random(500)
    mean, std = (
        (np.array([120.0, 130.0, 90.0]), np.array([60.0, 70.0, 55.0])) if normalised else (np.zeros(3), np.ones(3))
    )
    drawn = instance_labels(
        lambda start, stop: images[start:stop], label, flip_rate, uniform, projections, slot, mean, std
    )
    matrices = projections.transpose(0, 2, 1, 3).reshape(groups, 192, 5)[slot]
    expected = by_loop(images, label, flip_rate, uniform, matrices, mean, std)
    agreement(instance_labels, "labels", drawn, expected, atol=0.0)
    assert 0.3 < np.mean(drawn != label) < 0.7


@pytest.mark.parametrize("pixels", ["raw", "normalised"])
@pytest.mark.parametrize("projection", ["shared", "per_class"])
def test_the_model_is_that_loop_with_its_own_random_numbers(projection, pixels):
    images = pictures()
    noise = InstanceNoise(0.4, projection, pixels, seed=3)
    drawn = noise.draw(samples(images)).label
    rng = noise.stream("train")
    flip_rate, uniform = truncated_normal(0.4, 500, rng), rng.random(500)

    def matrix(*names: str) -> np.ndarray:
        return np.round(noise.stream("projection", *names).standard_normal((192, 10)) * 2**20) / 2**20

    each = [matrix(str(k)) if projection == "per_class" else matrix() for k in range(10)]
    flat = images.reshape(-1, 3).astype(np.float64)
    mean, std = (flat.mean(axis=0), flat.std(axis=0)) if pixels == "normalised" else (0.0, 1.0)
    label = np.arange(500) % 10
    assert drawn.tolist() == by_loop(images, label, flip_rate, uniform, [each[k] for k in label], mean, std)


@pytest.mark.parametrize(("rate", "expected"), [(0.2, 0.2055), (0.3, 0.3004), (0.4, 0.4), (0.6, 0.6)])
def test_the_realised_rate_is_the_mean_of_the_truncated_normal(rate, expected):
    assert truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1) == pytest.approx(expected, abs=5e-5)
    labels = InstanceNoise(rate).draw(samples(pictures(45_000, (2, 2, 1))))
    # Each label is wrong with a probability of its own; overall that is one binomial share.
    assert labels.realised_rate == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 45_000))


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.5, 1.0])
def test_own_rates_follow_the_truncated_normal(mean):
    drawn = np.sort(truncated_normal(mean, 20_000, np.random.default_rng(0)))
    assert 0.0 < drawn[0] < drawn[-1] < 1.0
    share = truncnorm.cdf(drawn, -mean / 0.1, (1 - mean) / 0.1, mean, 0.1)
    # Kolmogorov and Smirnov: a distance of 2 / sqrt(n) is exceeded once in 1,500 draws.
    assert np.abs(share - (np.arange(20_000) + 0.5) / 20_000).max() < 2 / math.sqrt(20_000)


def test_the_wrong_class_follows_the_softmax_over_the_other_classes():
    """All samples are one image with two pixels of value 1, so that the scores are sums of two rows of W."""
    image = np.array([[[1], [0]], [[0], [1]]], dtype=np.uint8)
    size, classes = 40_000, 4
    noise = InstanceNoise(0.5, seed=2)
    labels = noise.draw(samples(np.broadcast_to(image, (size, 2, 2, 1)), classes))
    weight = noise.stream("projection").standard_normal((4, classes))
    score = np.exp(weight[0] + weight[3])
    for given in range(classes):
        others = [k for k in range(classes) if k != given]
        for observed in others:
            expected = 0.5 * score[observed] / score[others].sum()
            bound = 5 * math.sqrt(expected * (1 - expected) / (size / classes))
            assert labels.transition_matrix[given, observed] == pytest.approx(expected, abs=bound)


def wrong_share(labels: NoisyLabels) -> float:
    """Share of the most frequent class among wrong labels."""
    wrong = labels.label[labels.label != labels.clean_label]
    return float(np.bincount(wrong).max() / len(wrong))


def test_raw_pixels_gather_the_wrong_labels_in_few_classes_and_normalised_ones_spread_them():
    images = samples(pictures(5_000))
    assert wrong_share(InstanceNoise(0.4, pixels="raw").draw(images)) > 0.25
    assert wrong_share(InstanceNoise(0.4, pixels="normalised").draw(images)) < 0.2


def test_every_class_has_a_projection_of_its_own_if_asked():
    # Of one image, a shared projection of raw pixels favours one class, and another one only where that is the clean one.
    images = samples(np.broadcast_to(pictures(1), (2_000, 8, 8, 3)))
    shared, own = (
        InstanceNoise(0.5, projection).draw(images).transition_matrix for projection in ("shared", "per_class")
    )
    np.fill_diagonal(shared, 0.0)
    np.fill_diagonal(own, 0.0)
    assert len(set(shared.argmax(axis=1).tolist())) == 2
    assert len(set(own.argmax(axis=1).tolist())) > 3


def test_splits_share_the_projection_but_not_the_draw():
    images = pictures(2_000)
    noise = InstanceNoise(0.5, seed=1)
    train, val = noise.draw(samples(images)), noise.draw(samples(images, split="val"))
    assert not np.array_equal(train.label, val.label)
    both = (train.label != train.clean_label) & (val.label != val.clean_label)
    assert np.mean(train.label[both] == val.label[both]) > 0.95
    other = InstanceNoise(0.5, seed=2).draw(samples(images))
    both = (train.label != train.clean_label) & (other.label != other.clean_label)
    assert np.mean(train.label[both] == other.label[both]) < 0.7


@pytest.mark.parametrize("projection", ["shared", "per_class"])
@pytest.mark.parametrize("pixels", ["raw", "normalised"])
def test_chunks_and_groups_of_any_size_give_the_same_labels(monkeypatch, projection, pixels):
    images = samples(pictures())
    digest = InstanceNoise(0.4, projection, pixels).draw(images).digest
    monkeypatch.setattr(instance, "_CHUNK_BYTES", 192 * 8 * 7)
    monkeypatch.setattr(instance, "_GROUP_BYTES", 192 * 8 * 10 * 3)
    assert InstanceNoise(0.4, projection, pixels).draw(images).digest == digest


def test_scores_are_the_same_bits_whatever_the_order_of_summation():
    images, noise = pictures(50), InstanceNoise(0.4)
    weight = noise._projection((8, 8, 3), 10)
    forwards = instance.project(images, weight, np.zeros(3), np.ones(3))
    backwards = instance.project(images[:, ::-1, ::-1], weight[:, ::-1], np.zeros(3), np.ones(3))
    assert np.array_equal(forwards, backwards)


@pytest.mark.parametrize("projection", ["shared", "per_class"])
def test_memory_does_not_grow_with_the_pixels(projection):
    """20,000 CIFAR images as float64 would take 490 MB, and a matrix for each of 50 classes another 61 MB."""
    image = pictures(1, (32, 32, 3))
    images = samples(np.broadcast_to(image, (20_000, 32, 32, 3)), 50)
    noise = InstanceNoise(0.2, projection)
    tracemalloc.start()
    try:
        noise.draw(images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 250e6


def test_channel_statistics_are_those_of_all_pixels():
    images = pictures(40, (5, 4, 2)) // 3
    flat = images.reshape(-1, 2).astype(np.float64)
    mean, std = channel_statistics(lambda start, stop: images[start:stop], 40, (5, 4, 2))
    assert mean == pytest.approx(flat.mean(axis=0))
    assert std == pytest.approx(flat.std(axis=0))
    flat_images = np.full((3, 2, 2, 1), 7, dtype=np.uint8)
    assert channel_statistics(lambda start, stop: flat_images[start:stop], 3, (2, 2, 1))[1].tolist() == [1.0]


def test_rate_zero_changes_nothing_and_two_classes_swap():
    images = samples(pictures(200), 2)
    assert InstanceNoise(0.0).draw(images).realised_rate == 0.0
    labels = InstanceNoise(0.9).draw(images)
    assert 0.7 < labels.realised_rate < 1.0
    assert set(labels.label.tolist()) == {0, 1}


def test_data_without_pixels_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"no images of one size.*noise=symmetric.*noise=from_file"):
        InstanceNoise(0.4).draw(Samples(np.arange(3), np.arange(3), 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.2}, r"\[0, 1\], got 1.2"),
        ({"rate": 0.2, "projection": "each"}, "'each'.*shared, per_class"),
        ({"rate": 0.2, "pixels": "scaled"}, "'scaled'.*raw, normalised"),
        ({"rate": 0.2, "seed": -1}, "got -1"),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        InstanceNoise(**options)
