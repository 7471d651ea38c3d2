"""How well scores and selections separate clean from noisy samples."""

import torch
from torch import Tensor


def selection_quality(both: int, selected: int, clean: int, total: int) -> dict[str, float]:
    """Measure how well a selection finds clean samples, and how well the samples it leaves out are the noisy ones.

    Args:
        both: Number of samples that are selected and clean.
        selected: Number of selected samples.
        clean: Number of clean samples.
        total: Number of samples.

    Returns:
        ``precision``, ``recall`` and ``f1`` with clean samples as positives, the same with the prefix ``noisy_`` and
        noisy samples as positives, and ``rate``, the fraction that is selected. A ratio with denominator 0 is 0.
    """
    wrong_left_out = total - selected - clean + both
    quality = {"rate": _ratio(selected, total)}
    for prefix, hits, found, wanted in (
        ("", both, selected, clean),
        ("noisy_", wrong_left_out, total - selected, total - clean),
    ):
        quality[f"{prefix}precision"] = _ratio(hits, found)
        quality[f"{prefix}recall"] = _ratio(hits, wanted)
        # The harmonic mean of both ratios, which is 0 where one of them is.
        quality[f"{prefix}f1"] = _ratio(2 * hits, found + wanted)
    return quality


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that a positive has a higher score than a negative, ties counting one half.

    Args:
        score: Any numbers, (N,).
        positive: Bool (N,), some True and some False.

    Returns:
        The area under the receiver operating characteristic, in [0, 1].
    """
    # Ranks instead of a library's curve, because that squeezes scores outside [0, 1] until large losses tie.
    _, place, counts = torch.unique(score, return_inverse=True, return_counts=True)
    upto = counts.cumsum(0).double()
    ranks = (upto - (counts.double() - 1.0) / 2.0)[place]
    hits = int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2.0) / (hits * (len(score) - hits)))
