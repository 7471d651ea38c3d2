"""How many labels are wrong: several estimators that need no clean labels, and an interval that covers their spread."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression

from alasca_pl.core.sample_file import SampleFile

Array = npt.NDArray[np.float64]

_BINS = 256
_STEPS = 200
_REPEATS = 40
# Factors by which the interval is wider than the spread of the estimators; see ``estimate``.
_LOWER, _UPPER = 0.8, 1.25
# Between the largest and the smallest estimator.
_DOUBTFUL = 2.5
# Difference of averaged probabilities.
_CLEARLY = 0.2
_PLANTED_QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Count:
    """Estimated number of wrong labels.

    Attributes:
        estimate: Sum over the labels of the median of the estimators.
        low: Lower end of the interval.
        high: Upper end.
        size: Number of labels.
        by: Each estimator's own number.
    """

    estimate: float
    low: float
    high: float
    size: int
    by: dict[str, float]

    def sentence(self, size: int | None = None) -> str:
        """Say it in words; ``size`` is the number of labels, unless it is this one's."""
        numbers = f"{round(self.low):,} to {round(self.high):,}"
        text = f"about {round(self.estimate):,} of {size or self.size:,} labels are estimated to be wrong ({numbers})"
        factor = max(self.by.values()) / max(min(self.by.values()), 1.0)
        if factor < _DOUBTFUL:
            return text
        return f"{text}; the estimators differ by a factor of {factor:.0f}, so take it for a guess and review the random sample"


@dataclass(frozen=True)
class Views:
    """What the estimators use of a split, means over the networks; samples that were never visited are left out.

    Attributes:
        label: Given labels, int64 (n,).
        suggested: Class with the largest averaged probability, int64 (n,).
        suggested_prob: This probability, (n,).
        confidence: Averaged probability of the given label, (n,).
        loss: Averaged cross-entropy of the given label, (n,).
        num_classes: K.
    """

    label: npt.NDArray[np.int64]
    suggested: npt.NDArray[np.int64]
    suggested_prob: Array
    confidence: Array
    loss: Array
    num_classes: int


def views_of(file: SampleFile, num_classes: int) -> Views:
    """Means over the networks, of the visited samples; of several suggestions the one with the largest probability."""
    seen = file.visits > 0
    prob = np.asarray(file.evidence["suggested_prob"], dtype=np.float64)[:, seen]
    chosen = np.argmax(prob, axis=0), np.arange(prob.shape[1])

    def mean(name: str) -> Array:
        return np.asarray(file.evidence[name], dtype=np.float64)[:, seen].mean(axis=0)

    suggested = np.asarray(file.evidence["suggested"], dtype=np.int64)[:, seen]
    return Views(file.label[seen], suggested[chosen], prob[chosen], mean("confidence"), mean("loss"), num_classes)


def disagreeing(views: Views, weight: Array) -> Array:
    """Labels that differ from the averaged prediction."""
    return (views.suggested != views.label).astype(np.float64)


def confident(views: Views, weight: Array) -> Array:
    """Labels against which a prediction is as sure as is usual for its class, as in confident learning.

    References:
        Northcutt et al.: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 2021.
        https://arxiv.org/abs/1911.00068
    """
    classes = views.num_classes
    size = np.bincount(views.label, weight, classes)
    usual = np.bincount(views.label, weight * views.confidence, classes) / np.maximum(size, 1e-12)
    # A class without labels is never suggested with the confidence that is usual for it.
    usual[size == 0] = np.inf
    wrong = (views.suggested != views.label) & (views.suggested_prob >= usual[views.suggested])
    right = ~wrong & (views.confidence >= usual[views.label])
    counted_wrong, counted_right = (np.bincount(views.label, weight * each, classes) for each in (wrong, right))
    rest = counted_wrong / np.maximum(counted_wrong + counted_right, 1e-12)
    return np.where(wrong, 1.0, np.where(right, 0.0, rest[views.label]))


def contradicted(views: Views, weight: Array) -> Array:
    """Labels to which the averaged prediction gives clearly less than to another class: the safest rule, which misses most."""
    return (views.suggested_prob - views.confidence > _CLEARLY).astype(np.float64)


def costly(views: Views, weight: Array) -> Array:
    """Labels in the component with the larger mean of two Gaussians fitted to the averaged losses.

    References:
        Arazo et al.: Unsupervised Label Noise Modeling and Loss Correction. ICML 2019. https://arxiv.org/abs/1904.11238
    """
    return _upper_component(views.loss, weight, disagreeing(views, weight))


def _upper_component(values: Array, weight: Array, begin: Array) -> Array:
    """Probability of the component with the larger mean, of two Gaussians fitted to a histogram; (n,).

    ``begin`` is the membership that the fit starts from, (n,).
    """
    low, high = np.quantile(values, [0.001, 0.999])
    if high - low < 1e-9:
        return np.zeros(len(values))
    place = np.clip(((values - low) / (high - low) * _BINS).astype(np.int64), 0, _BINS - 1)
    count = np.bincount(place, weight, _BINS)
    centre = (np.arange(_BINS) + 0.5) / _BINS
    total = count.sum()
    member = np.bincount(place, weight * begin, _BINS) / np.maximum(count, 1e-12)
    for _ in range(_STEPS):
        both = np.stack([1 - member, member], axis=1) * count[:, None]
        mass = np.maximum(both.sum(axis=0), 1e-12)
        mean = (both * centre[:, None]).sum(axis=0) / mass
        spread = np.sqrt((both * (centre[:, None] - mean) ** 2).sum(axis=0) / mass).clip(1 / _BINS)
        scaled = (centre[:, None] - mean) / spread
        log_density = np.log(mass / total) - np.log(spread) - scaled**2 / 2
        new = 1 / (1 + np.exp(np.clip(log_density[:, 0] - log_density[:, 1], -50, 50)))
        # The wider component also wins at the far end of the other one, where it must not.
        new = np.maximum.accumulate(np.where(centre < mean.min(), 0.0, new))
        if np.abs(new - member).max() < 1e-5:
            break
        member = new
    return member[place]


ESTIMATORS: dict[str, Callable[[Views, Array], Array]] = {
    "labels that differ from the averaged prediction": disagreeing,
    "confident learning on the averaged prediction": confident,
    "mixture of two Gaussians on the averaged loss": costly,
    "labels clearly contradicted by the averaged prediction": contradicted,
}
"""Each gives the probability of being wrong by its own rule, (n,), from the samples and their weights."""


def wrong_probability(file: SampleFile, num_classes: int, score: Array) -> Array:
    """Probability that each visited label is wrong: the median of the estimators, made to fall with the rank.

    Args:
        file: What is known of a split.
        num_classes: K.
        score: Larger is more suspicious, one per visited sample, (n,).

    Returns:
        (n,); its sum is the estimated number of wrong labels.
    """
    views = views_of(file, num_classes)
    weight = np.ones(len(views.label))
    member = _agreed([estimator(views, weight) for estimator in ESTIMATORS.values()])
    order = np.argsort(-score, kind="stable")
    probability = np.empty(len(score))
    probability[order] = isotonic_regression(member[order], increasing=False)
    return np.clip(probability, 0.0, 1.0)


def estimate(
    file: SampleFile, num_classes: int, planted: npt.NDArray[np.bool_] | None = None, score: Array | None = None
) -> Count:
    """Estimate the number of wrong labels of a split without clean labels.

    No estimator is right for all kinds of noise: those that look at predictions count hard correct labels as well, and miss
    labels that are wrong in a way that the network learns. The interval reaches from the smallest to the largest of them,
    each with two deviations of a bootstrap, and is then widened.

    Args:
        file: What is known of the split.
        num_classes: K.
        planted: Which of the visited labels were changed on purpose, (n,). They are not counted; their scores show where
            wrong labels are found.
        score: Score of the visited labels, (n,), for ``planted``.
    """
    views = views_of(file, num_classes)
    size = len(views.label)
    own = np.ones(size) if planted is None else (~planted).astype(np.float64)
    rng = np.random.default_rng(0)
    by, ends, members = {}, [], []
    for name, estimator in ESTIMATORS.items():
        members.append(estimator(views, np.ones(size)))
        by[name] = float(members[-1] @ own)
        again = [own * (weight * estimator(views, weight)) for weight in _resampled(rng, size)]
        ends.append((by[name], _deviation([float(each.sum()) for each in again])))
    if planted is not None and score is not None and planted.sum() >= 10:
        name = "reference of the planted errors"
        by[name] = _by_reference(score[~planted], score[planted])
        sums = [
            _by_reference(rng.choice(score[~planted], int(own.sum())), rng.choice(score[planted], int(planted.sum())))
            for _ in range(_REPEATS)
        ]
        ends.append((by[name], _deviation(sums)))
    low = min(value - 2 * deviation for value, deviation in ends)
    high = max(value + 2 * deviation for value, deviation in ends)
    number = int(own.sum())
    middle = float(_agreed(members) @ own)
    return Count(middle, max(0.0, _LOWER * low), min(float(number), _UPPER * high), number, by)


def _agreed(members: list[Array]) -> Array:
    """What the estimators say of each label, (n,): of an even number the mean of the middle two."""
    return np.median(members, axis=0)


def _deviation(values: list[float]) -> float:
    """Standard deviation by the quantiles, because a fit now and then ends elsewhere."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def _resampled(rng: np.random.Generator, size: int) -> Iterable[Array]:
    for _ in range(_REPEATS):
        yield np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64)


def _by_reference(score: Array, planted: Array) -> float:
    """Wrong labels if they are as suspicious as planted ones: above a threshold lies a known fraction of them."""
    thresholds = np.quantile(planted, _PLANTED_QUANTILES)
    return min(float((score > limit).sum() / max((planted > limit).mean(), 1e-12)) for limit in thresholds)


def total(counts: Iterable[Count]) -> Count:
    """Sum over splits; the ends are added, which is wider than needed."""
    counts = list(counts)
    names = dict.fromkeys(name for count in counts for name in count.by)
    return Count(
        estimate=sum(count.estimate for count in counts),
        low=sum(count.low for count in counts),
        high=sum(count.high for count in counts),
        size=sum(count.size for count in counts),
        by={
            name: sum(count.by[name] for count in counts) for name in names if all(name in count.by for count in counts)
        },
    )
