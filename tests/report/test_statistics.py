"""Statistics against scipy and against loops."""

import math

import numpy as np
import pytest
from scipy import stats

from alasca_pl.report.statistics import holm, mean_and_std, paired, smallest_sign_p, verdict

SAMPLES = [np.random.default_rng(seed).normal(0.5, 2.0, n).tolist() for seed in range(6) for n in (2, 3, 5, 20)]


@pytest.mark.parametrize("values", SAMPLES, ids=len)
def test_mean_std_and_t_test_are_those_of_numpy_and_scipy(values):
    assert mean_and_std(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    zeros = np.zeros(len(values))
    for level in (0.9, 0.95):
        expected = stats.ttest_rel(values, zeros)
        low, high = expected.confidence_interval(level)
        its = paired(values, level)
        assert (its.p, its.low, its.high) == pytest.approx((expected.pvalue, low, high))
        assert its.n == len(values)


def test_the_effect_is_corrected_for_few_pairs():
    # Hedges 1981: the factor is gamma(m / 2) / (sqrt(m / 2) gamma((m - 1) / 2)); for m = 2 that is 1 / sqrt(pi).
    assert paired([1.0, 2.0, 3.0]).effect == pytest.approx(2.0 / math.sqrt(math.pi))
    assert paired([1.0, 3.0]).effect is None


def test_without_spread_there_is_no_test():
    its = paired([0.1 + 0.2, 0.3, 0.3])
    assert (its.low, its.high, its.p, its.effect) == (None,) * 4
    assert paired([2.0]).std is None and paired([2.0]).p is None


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_step_down_procedure(seed):
    rng = np.random.default_rng(seed)
    p_values = [
        None if rng.random() < 0.2 else float(rng.choice([0.001, 0.01, 0.02, 0.04, 0.3, 1.0])) for _ in range(7)
    ]
    adjusted = holm(p_values)
    known = [p for p in p_values if p is not None]
    for level in (0.005, 0.03, 0.05, 0.13):
        # As it is described: go through the p-values by size and stop at the first that is too large.
        rejected = set()
        for rank, p in enumerate(sorted(known)):
            if p > level / (len(known) - rank):
                break
            rejected.add(p)
        assert [p is not None and p in rejected for p in p_values] == [a is not None and a <= level for a in adjusted]


@pytest.mark.parametrize(
    ("differences", "adjusted", "expected"),
    [
        ([5.0, 5.1], 0.001, "n too small to decide"),
        ([5.0, 5.1, 4.9], 0.001, "gain"),
        ([-5.0, -5.1, -4.9], 0.001, "loss"),
        ([5.0, 5.1, 4.9], 0.06, "undecided"),
        ([0.1, -0.1, 0.0, 0.1], 0.6, "no gain"),
        ([-4.0, 1.0, 0.5], 0.6, "undecided"),
        ([0.0, 0.0, 0.0], None, "no gain"),
        ([2.0, 2.0, 2.0], None, "undecided"),
    ],
)
def test_verdicts(differences, adjusted, expected):
    assert verdict(paired(differences), adjusted, margin=1.0) == expected


def test_three_signs_cannot_reach_five_percent():
    for n in range(1, 12):
        assert smallest_sign_p(n) == pytest.approx(stats.binomtest(n, n, 0.5).pvalue)
    assert smallest_sign_p(5) > 0.05 > smallest_sign_p(6)
