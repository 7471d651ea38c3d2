"""How well a score finds wrong labels, where clean labels are known. For measuring only."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score


class Measures(NamedTuple):
    """What a ranking is worth.

    Labels with equal scores count as if they stood in random order.
    """

    auroc: float
    """Probability that a wrong label has a larger score than a right one."""
    average_precision: float
    """Mean over the wrong labels of the precision down to each."""
    precision: float
    """Fraction of wrong labels among as many of the most suspicious ones as there are wrong labels."""
    missed: float
    """Number of wrong labels that are not among these."""


def measure(score: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]) -> Measures:
    """Measure a score.

    Args:
        score: Larger is more suspicious, finite, (n,).
        wrong: Which labels are wrong, (n,).

    Raises:
        ValueError: If no label is wrong or all are: then there is nothing to tell apart.

    Example:
        >>> measure(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
        Measures(auroc=0.75, average_precision=0.8333333333333333, precision=0.5, missed=1.0)
    """
    count = int(wrong.sum())
    if count in (0, len(wrong)):
        raise ValueError(f"{count} of {len(wrong)} labels are wrong, so that there is nothing to tell apart")
    # The smallest score that is flagged if as many are flagged as are wrong; of those that have it only a part may fit.
    least = np.partition(score, len(score) - count)[len(score) - count]
    above, equal = score > least, score == least
    found = wrong[above].sum() + (count - above.sum()) * wrong[equal].mean()
    return Measures(
        auroc=float(roc_auc_score(wrong, score)),
        average_precision=float(average_precision_score(wrong, score)),
        precision=float(found / count),
        missed=float(count - found),
    )
