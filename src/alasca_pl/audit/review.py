"""From decisions to estimates: precision of the ranking, errors that remain, and what more review would find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.decisions import Decisions
from alasca_pl.audit.tables import DROPPED

Array = npt.NDArray[np.float64]

_DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_DRAWS = 20_000
_WINDOW = 50
# Assumed where decisions carry no times.
_SECONDS = 5.0


@dataclass(frozen=True)
class Fraction:
    """A fraction with its interval of 95 %.

    Attributes:
        found: How many of them.
        of: How many were decided.
        estimate: Their ratio; NaN of none.
        low: Lower end.
        high: Upper end.
    """

    found: int
    of: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Total:
    """A number with its interval of 95 %."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Review:
    """What decisions say about all labels.

    Attributes:
        precision: By depth k, fraction of wrong labels among the decided of the k most suspicious, with Wilson's interval.
        unsure: Number of decisions that are neither right nor wrong.
        wrong_found: Number of labels found wrong.
        sampled: Number of decided labels of the random sample.
        total: Wrong labels among all audited ones, from the random sample; None if too little of it was decided.
        remaining: The same without those found wrong.
        why_no_total: Why there is none.
        next_hour: Wrong labels that another hour would find, by the last decided ones in the order of suspicion; not more than
            seem to be left.
        per_hour: Number of decisions in an hour.
        undecided: Number of labels without a decision.
        pays: Whether another hour is expected to find at least one; None if unknown.
        transition: P(given j | true i), (K, K), from the random sample; None without a total. Rows without samples are those
            of correct labels.
        transition_counts: Number of decided labels of the sample behind each row, int64 (K,).
    """

    precision: dict[int, Fraction]
    unsure: int
    wrong_found: int
    sampled: int
    total: Total | None
    remaining: Total | None
    why_no_total: str
    next_hour: Total | None
    per_hour: float
    undecided: int
    pays: bool | None
    transition: Array | None
    transition_counts: npt.NDArray[np.int64]


def wilson(found: int, of: int) -> Fraction:
    """A fraction with Wilson's interval.

    Example:
        >>> fraction = wilson(8, 10)
        >>> round(fraction.low, 2), round(fraction.high, 2)
        (0.49, 0.94)
    """
    if not of:
        return Fraction(0, 0, float("nan"), 0.0, 1.0)
    interval = binomtest(found, of).proportion_ci(method="wilson")
    return Fraction(found, of, found / of, float(interval.low), float(interval.high))


def review(audit: Audit, decisions: Decisions) -> Review:
    """Estimate from decisions.

    The total is Horvitz and Thompson's estimate from the stratified random sample, without bias whatever the ranking is
    worth. Its interval draws each stratum's fraction from Jeffreys' posterior; decisions of ``unsure`` count as right for
    the lower end and as wrong for the upper one.
    """
    count = len(audit.suspects)
    state = np.full(count, -1)
    state[decisions.place] = np.where(decisions.action == "unsure", 2, decisions.wrong.astype(np.int64))
    precision = {}
    deepest = int(decisions.place.max()) + 1
    for depth in _depths(count, deepest):
        top = state[:depth]
        precision[depth] = wilson(int((top == 1).sum()), int((top <= 1).sum() - (top == -1).sum()))
    total, why = _total(audit, state)
    found = int(decisions.wrong.sum())
    remaining = None
    if total is not None:
        # Bounded by what was not found wrong.
        bounded = [float(np.clip(value - found, 0, count - found)) for value in (total.estimate, total.low, total.high)]
        remaining = Total(*bounded)
    per_hour = 3600 / (decisions.seconds or _SECONDS)
    next_hour = _next_hour(state, per_hour, _left(audit, found, remaining))
    pays = None if next_hour is None else next_hour.high >= 1
    if remaining is not None and remaining.high < 1:
        pays = False
    transition, rows = (
        _transition(audit, decisions, state) if total is not None else (None, np.zeros(0, dtype=np.int64))
    )
    return Review(
        precision=precision,
        unsure=int((state == 2).sum()),
        wrong_found=found,
        sampled=int((state[audit.sample.place] >= 0).sum()),
        total=total,
        remaining=remaining,
        why_no_total=why,
        next_hour=next_hour,
        per_hour=per_hour,
        undecided=int((state == -1).sum()),
        pays=pays,
        transition=transition,
        transition_counts=rows,
    )


def _depths(count: int, deepest: int) -> Sequence[int]:
    return sorted({depth for depth in _DEPTHS if depth < deepest} | {min(deepest, count)})


def _total(audit: Audit, state: npt.NDArray[np.int64]) -> tuple[Total | None, str]:
    sample = audit.sample
    answer = state[sample.place]
    rng = np.random.default_rng(0)
    estimate, low, high = 0.0, np.zeros(_DRAWS), np.zeros(_DRAWS)
    for number, size in enumerate(sample.size.tolist()):
        if not size:
            continue
        answers = answer[(sample.stratum == number) & (answer >= 0)]
        wrong, unsure, decided = int((answers == 1).sum()), int((answers == 2).sum()), len(answers)
        if decided - unsure < min(2, size):
            return None, (
                "the random sample is needed for it: of each stratum at least 2 of its labels must be decided; "
                f"{(answer >= 0).sum()} of {len(answer)} are"
            )
        estimate += size * wrong / (decided - unsure)
        rest = size - decided
        for bound, counted in ((low, wrong), (high, wrong + unsure)):
            bound += counted + (
                rng.binomial(rest, rng.beta(counted + 0.5, decided - counted + 0.5, _DRAWS)) if rest else 0
            )
    return Total(estimate, float(np.quantile(low, 0.025)), float(np.quantile(high, 0.975))), ""


def _left(audit: Audit, found: int, remaining: Total | None) -> Total:
    """What there is at most to find: by the random sample, or else by the audit's own estimate unless more was found."""
    if remaining is not None:
        return Total(remaining.high, remaining.high, remaining.high)
    count = audit.counts.get("all")
    if count is None or count.high <= found:
        return Total(float("inf"), float("inf"), float("inf"))
    return Total(*(max(0.0, value - found) for value in (count.estimate, count.low, count.high)))


def _next_hour(state: npt.NDArray[np.int64], per_hour: float, left: Total) -> Total | None:
    decided = np.flatnonzero((state == 0) | (state == 1))
    if len(decided) < 10:
        return None
    # The ranking falls, so that the last ones in its order are at least as rich as those that follow.
    last = wilson(int((state[decided[-_WINDOW:]] == 1).sum()), min(_WINDOW, len(decided)))
    hour = min(per_hour, float((state == -1).sum()))
    rates, limits = (last.estimate, last.low, last.high), (left.estimate, left.low, left.high)
    return Total(*(min(hour * rate, limit) for rate, limit in zip(rates, limits)))


def _transition(
    audit: Audit, decisions: Decisions, state: npt.NDArray[np.int64]
) -> tuple[Array, npt.NDArray[np.int64]]:
    classes = len(audit.class_names)
    new = audit.suspects.given.copy()
    new[decisions.place] = decisions.label
    weights, rows = np.zeros((classes, classes)), np.zeros(classes, dtype=np.int64)
    sample = audit.sample
    usable = ((state[sample.place] == 0) | (state[sample.place] == 1)) & (new[sample.place] != DROPPED)
    decided = np.bincount(sample.stratum[usable], minlength=len(sample.size))
    for place, stratum in zip(sample.place[usable], sample.stratum[usable]):
        weights[new[place], audit.suspects.given[place]] += sample.size[stratum] / decided[stratum]
        rows[new[place]] += 1
    empty = weights.sum(axis=1) == 0
    weights[empty, np.flatnonzero(empty)] = 1.0
    return weights / weights.sum(axis=1, keepdims=True), rows
