"""Instance-dependent noise: whether a label is wrong, and which one it becomes, depends on the image."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, Pixels, Samples

Floats = npt.NDArray[np.float64]

# Standard deviation of the samples' own rates (Cheng et al. 2020).
_RATE_STD = 0.1
# Projections are multiples of this. Products with integer pixel values are then summed without rounding, so the same
# seed gives the same labels with every linear algebra library, number of threads and size of chunks.
_GRID = 2.0**-20
# Maximum size in bytes of the pixels of a chunk, and of the projections of a group of classes.
_CHUNK_BYTES = 2**25
_GROUP_BYTES = 2**27


class InstanceNoise(NoiseModel):
    """Each sample is mislabelled with its own probability, as a class with a high score under a random projection.

    Sample i gets ``q_i`` from a normal distribution around ``rate`` with standard deviation 0.1, truncated to (0, 1), and
    scores ``s = flatten(x_i) @ W`` with standard normal W. It keeps its label with probability ``1 - q_i``; else it gets
    another class with the probabilities of ``softmax(s)`` over the other classes. W is the same for all splits of the data.

    With raw pixels the scores are in the thousands, so that one class gets all the probability, and few classes get
    most of the wrong labels. The published numbers were measured with this noise.

    Args:
        rate: Nominal rate in [0, 1]. The expected fraction of wrong labels is the mean of the truncated distribution: 0.2055
            for 0.2, 0.4000 for 0.4. 0 changes no label, although the truncated distribution would.
        projection: ``shared``: one W; ``per_class``: one W for each clean class, as in part-dependent noise.
        pixels: ``raw``: values of 0 to 255; ``normalised``: with mean 0 and standard deviation 1 per channel, as measured
            on the samples themselves.
        seed: Seed of the draw.

    Raises:
        ValueError: If a value is outside its range.

    Source: Cheng et al. 2020 and its code (UCSC-REAL/cores), which jongwooko/ALASCA uses too; xiaoboxia/CDR
    (per_class).

    References:
        Cheng et al.: Learning with Instance-Dependent Label Noise: A Sample Sieve Approach. ICLR 2021.
        https://arxiv.org/abs/2010.02347
        Xia et al.: Part-dependent Label Noise: Towards Instance-dependent Label Noise. NeurIPS 2020.
        https://arxiv.org/abs/2006.07836
        Code: UCSC-REAL/cores@cf0945e, jongwooko/ALASCA@a47249d, xiaoboxia/CDR@6665a8b

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)
        >>> samples = Samples(
        ...     np.arange(100) % 5, np.arange(100), num_classes=5, pixels=lambda start, stop: images[start:stop]
        ... )
        >>> 0.2 < InstanceNoise(0.4).draw(samples).realised_rate < 0.6
        True
    """

    kind = "instance"
    rate: float

    def __init__(
        self,
        rate: float,
        projection: Literal["shared", "per_class"] = "shared",
        pixels: Literal["raw", "normalised"] = "raw",
        seed: int = 0,
    ) -> None:
        super().__init__(rate, seed)
        if projection not in ("shared", "per_class"):
            raise ValueError(f"unknown projection {projection!r} of instance noise; choose one of shared, per_class")
        if pixels not in ("raw", "normalised"):
            raise ValueError(f"unknown pixels {pixels!r} of instance noise; choose one of raw, normalised")
        self.projection = projection
        self.pixels = pixels

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        if samples.pixels is None:
            raise ValueError(
                "instance noise depends on the images, but this data set has no images of one size; choose a noise "
                "without them, e.g. noise=symmetric, or labels from a file with noise=from_file"
            )
        label = samples.label
        if self.rate == 0 or not len(label):
            return label.copy()
        flip_rate = truncated_normal(self.rate, len(label), rng)
        uniform = rng.random(len(label))
        shape = samples.pixels(0, 1).shape[1:]
        mean, std = (np.zeros(shape[-1]), np.ones(shape[-1]))
        if self.pixels == "normalised":
            mean, std = channel_statistics(samples.pixels, len(label), shape)
        observed = label.copy()
        for projections, slot in self._groups(label, shape, samples.num_classes):
            drawn = instance_labels(samples.pixels, label, flip_rate, uniform, projections, slot, mean, std)
            observed[slot >= 0] = drawn[slot >= 0]
        return observed

    def _groups(
        self, label: Labels, shape: tuple[int, ...], num_classes: int
    ) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
        """As many projections at a time as memory allows, and the projection of each sample, -1 for none."""
        if self.projection == "shared":
            yield self._projection(shape, num_classes)[None], np.zeros_like(label)
            return
        size = max(1, _GROUP_BYTES // (8 * int(np.prod(shape)) * num_classes))
        for start in range(0, num_classes, size):
            classes = range(start, min(start + size, num_classes))
            slot = np.where((label >= start) & (label < classes.stop), label - start, -1)
            if (slot >= 0).any():
                yield np.stack([self._projection(shape, num_classes, str(k)) for k in classes]), slot

    def _projection(self, shape: tuple[int, ...], num_classes: int, *names: str) -> Floats:
        """W by channels, (C, H * W, K)."""
        height, width, channels = shape
        drawn = self.stream("projection", *names).standard_normal((height * width, channels, num_classes))
        return np.ascontiguousarray((np.round(drawn / _GRID) * _GRID).transpose(1, 0, 2))


def truncated_normal(mean: float, size: int, rng: np.random.Generator) -> Floats:
    """Numbers in (0, 1) from a normal distribution of standard deviation 0.1, redrawn while they are outside.

    Args:
        mean: In [0, 1], so that at least about half of the draws are inside.
        size: How many.
        rng: The generator.
    """
    drawn = np.empty(size)
    missing = np.arange(size)
    while len(missing):
        drawn[missing] = mean + _RATE_STD * rng.standard_normal(len(missing))
        missing = missing[(drawn[missing] <= 0.0) | (drawn[missing] >= 1.0)]
    return drawn


def channel_statistics(pixels: Pixels, size: int, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the values 0 to 255 of each channel over all samples, (C,) each.

    A channel with a standard deviation below 1 counts as having 1.
    """
    counts = np.zeros((shape[-1], 256), dtype=np.int64)
    for start, stop in _chunks(size, shape):
        images = pixels(start, stop)
        for channel in range(shape[-1]):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    value, total = np.arange(256), counts.sum(axis=1)
    mean = counts @ value / total
    return mean, np.sqrt(np.maximum(counts @ value**2 / total - mean**2, 1.0))


def instance_labels(
    pixels: Pixels,
    label: Labels,
    flip_rate: Floats,
    uniform: Floats,
    projections: Floats,
    slot: npt.NDArray[np.int64],
    mean: Floats,
    std: Floats,
) -> Labels:
    """Draw labels from given random numbers.

    Args:
        pixels: From a range of rows to their images, uint8 (n, H, W, C).
        label: Clean labels, int64 (N,).
        flip_rate: Probability of a wrong label, in [0, 1), (N,).
        uniform: One number in [0, 1) per sample, (N,). Below ``flip_rate`` the label becomes a wrong one, and their
            quotient picks it from the distribution function over the other classes.
        projections: G projections by channels, (G, C, H * W, K).
        slot: Which of them is for a sample, or -1 to keep its label, int64 (N,).
        mean: Subtracted from the pixels, (C,).
        std: By which the pixels are then divided, (C,).

    Returns:
        int64 (N,).
    """
    observed = label.copy()
    if not len(label):
        return observed
    flips = (uniform < flip_rate) & (slot >= 0)
    for start, stop in _chunks(len(label), pixels(0, 1).shape[1:]):
        rows = np.flatnonzero(flips[start:stop])
        if not len(rows):
            continue
        images = pixels(start, stop)[rows]
        rows += start
        score = np.empty((len(rows), projections.shape[-1]))
        for group in np.unique(slot[rows]):
            members = slot[rows] == group
            score[members] = project(images[members], projections[group], mean, std)
        observed[rows] = _other_class(score, label[rows], uniform[rows] / flip_rate[rows])
    return observed


def project(images: npt.NDArray[np.uint8], projection: Floats, mean: Floats, std: Floats) -> Floats:
    """Scores of images, float64 (n, K); arguments as for ``instance_labels``, with ``projection`` (C, H * W, K)."""
    score = np.zeros((len(images), projection.shape[-1]))
    for channel, weight in enumerate(projection):
        values = images[..., channel].reshape(len(images), -1).astype(np.float64)
        # Normalised after the product, because only integer pixel values make it exact.
        score += (values @ weight - mean[channel] * weight.sum(axis=0)) / std[channel]
    return score


def _other_class(score: Floats, label: Labels, place: Floats) -> Labels:
    """Pick another class by a quantile in [0, 1) of the softmax over the others."""
    score[np.arange(len(label)), label] = -np.inf
    edges = np.cumsum(np.exp(score - score.max(axis=1, keepdims=True)), axis=1)
    total = edges[:, -1]
    # Below the last edge even if the product is rounded up, so that a class of probability 0 is never picked.
    target = np.minimum(place * total, np.nextafter(total, 0.0))
    return (edges <= target[:, None]).sum(axis=1)


def _chunks(size: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    rows = max(1, _CHUNK_BYTES // (8 * int(np.prod(shape))))
    for start in range(0, size, rows):
        yield start, min(start + rows, size)
