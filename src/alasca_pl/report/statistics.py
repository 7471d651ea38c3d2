"""Means, paired differences and what may be concluded from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["gain", "no gain", "loss", "undecided", "n too small to decide"]
SMALLEST_N = 3


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and sample standard deviation (n - 1), which is None for a single value.

    Example:
        >>> mean_and_std([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Paired:
    """Paired differences and the t test of their mean.

    Attributes:
        differences: One per pair.
        mean: Their mean.
        std: Their sample standard deviation, or None for one pair.
        low: Lower end of the confidence interval of the mean, or None where there is none.
        high: Upper end.
        p: Two-sided p-value of the paired t test, or None where there is none: below two pairs, or if all differences are
            equal, so that their spread is unknown.
        effect: Hedges' g of the differences, i.e. mean over standard deviation, corrected for few pairs; None below three
            pairs or without spread.
    """

    differences: tuple[float, ...]
    mean: float
    std: float | None
    low: float | None
    high: float | None
    p: float | None
    effect: float | None

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.differences)


def paired(differences: Sequence[float], level: float = 0.95) -> Paired:
    """Test whether the mean of paired differences is 0.

    Args:
        differences: At least one.
        level: Of the confidence interval.

    Example:
        >>> round(paired([1.0, 2.0, 3.0]).p, 4)
        0.0742
    """
    n = len(differences)
    mean, std = mean_and_std(differences)
    # Differences that are equal up to rounding have no spread to measure by.
    if std is None or std <= 1e-12 * max(1.0, abs(mean)):
        return Paired(tuple(differences), mean, std, None, None, None, None)
    error = std / math.sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Paired(tuple(differences), mean, std, mean - half, mean + half, p, _hedges(mean / std, n))


def _hedges(effect: float, n: int) -> float | None:
    if n < SMALLEST_N:
        return None
    free = n - 1
    log_factor = math.lgamma(free / 2) - math.log(math.sqrt(free / 2)) - math.lgamma((free - 1) / 2)
    return effect * math.exp(log_factor)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values; None stays None and does not count.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def verdict(its: Paired, adjusted: float | None, margin: float, level: float = 0.95) -> Verdict:
    """What differences of accuracy say, larger being better.

    Args:
        its: The differences.
        adjusted: p-value after Holm's correction.
        margin: Smallest gain that matters.
        level: 1 - level is the level of the test.

    Returns:
        ``gain`` or ``loss`` if the adjusted p-value is below 1 - level; ``no gain`` if the whole confidence interval lies
        below ``margin``, so that what gain there may be does not matter; else ``undecided``. Below three pairs
        ``n too small to decide``: a t test of two has one degree of freedom.
    """
    if its.n < SMALLEST_N:
        return "n too small to decide"
    if adjusted is not None and adjusted < round(1 - level, 12):
        return "gain" if its.mean > 0 else "loss"
    if its.high is not None and its.high < margin:
        return "no gain"
    if its.p is None and all(difference == 0 for difference in its.differences):
        return "no gain"
    return "undecided"


def smallest_sign_p(n: int) -> float:
    """Smallest two-sided p-value that a sign test of n pairs can give; no other test that uses signs only is better.

    Example:
        >>> smallest_sign_p(3), smallest_sign_p(6)
        (0.25, 0.03125)
    """
    return min(1.0, float(np.ldexp(1.0, 1 - n)))
