"""What a ranking of labels is worth, against counts by hand."""

import itertools

import numpy as np
import pytest

from alasca_pl.audit.measures import measure


def counted(order: list[int], wrong: np.ndarray) -> tuple[float, float, float, float]:
    """All four measures of a strict ranking, by loops."""
    flags = [bool(wrong[place]) for place in order]
    pairs = list(itertools.combinations(flags, 2))
    auroc = sum(first and not second for first, second in pairs) / sum(first != second for first, second in pairs)
    precisions = [sum(flags[: depth + 1]) / (depth + 1) for depth in range(len(flags)) if flags[depth]]
    found = sum(flags[: sum(flags)])
    return auroc, sum(precisions) / len(precisions), found / sum(flags), sum(flags) - found


def test_of_strict_rankings_they_are_what_loops_count():
    rng = np.random.default_rng(0)
    for _ in range(20):
        wrong = np.zeros(30, dtype=bool)
        wrong[rng.choice(30, rng.integers(1, 29), replace=False)] = True
        score = rng.permutation(30).astype(float)
        assert tuple(measure(score, wrong)) == pytest.approx(counted(np.argsort(-score).tolist(), wrong))


def test_equal_scores_count_as_if_in_random_order():
    score = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    wrong = np.array([False, True, True, False, False])
    # Two are flagged: the first, and one of the three that are equal.
    found = np.mean([wrong[[0, place]].sum() for place in (1, 2, 3)])
    result = measure(score, wrong)
    assert result.precision == pytest.approx(found / 2) and result.missed == pytest.approx(2 - found)
    assert measure(score[::-1], wrong[::-1]) == result
    # Where nothing is told apart, the precision is the fraction of wrong labels.
    assert measure(np.zeros(5), wrong)[:3] == pytest.approx((0.5, 0.4, 0.4))


@pytest.mark.parametrize("value", [False, True])
def test_labels_of_one_kind_have_no_measures(value):
    with pytest.raises(ValueError, match=r"of 3 labels are wrong"):
        measure(np.arange(3.0), np.full(3, value))
