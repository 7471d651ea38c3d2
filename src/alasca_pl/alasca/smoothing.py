"""Label smoothing with a strength per sample, as pure functions."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, label_log_prob

SmoothingTarget = Literal["others", "uniform", "paper_omega"]


def check_target(target: str) -> None:
    """Raise ``ValueError`` unless ``target`` names a reading of the smoothed loss."""
    if target not in get_args(SmoothingTarget):
        raise ValueError(f"unknown smoothing target {target!r}; choose one of {', '.join(get_args(SmoothingTarget))}")


def check_smoothing(smoothing: float) -> None:
    """Raise ``ValueError`` unless a strength that is the same for all samples lies in [0, 1]."""
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"smoothing must lie in [0, 1], got {smoothing}; 0 is plain cross-entropy")


def smoothed_loss(logits: Tensor, label: Tensor, smoothing: Tensor, target: SmoothingTarget = "others") -> Tensor:
    """Cross-entropy against labels that are smoothed by a different amount for each sample.

    Args:
        logits: (B, K).
        label: int64 (V, B); V labels for each row.
        smoothing: Mass moved away from the label, in [0, 1], float (V, B), without gradient.
        target: Where the mass goes. ``others``: evenly to the other K - 1 classes, as in the authors' code for
            auxiliary classifiers. ``uniform``: evenly to all K classes, standard label smoothing. ``paper_omega``:
            ``smoothing * Omega``, Eq. 2 of the paper as printed, K times the standard weight and no distribution.

    Returns:
        Float (V, B).

    Source: adaptive label smoothing, Eq. 2 of the ALASCA paper; jongwooko/ALASCA for ``others`` and ``uniform``.

    Example:
        >>> import torch
        >>> logits, label = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0]])
        >>> round(smoothed_loss(logits, label, torch.tensor([[0.3]])).item(), 4)
        0.8576
    """
    check_target(target)
    num_classes = logits.shape[1]
    log_probs = F.log_softmax(full_precision(logits), dim=1)
    given = -label_log_prob(log_probs, label)
    everything = -log_probs.sum(dim=1)
    if target == "others":
        return (1.0 - smoothing) * given + smoothing / (num_classes - 1) * (everything - given)
    if target == "uniform":
        return (1.0 - smoothing) * given + smoothing / num_classes * everything
    return (1.0 - smoothing) * given + smoothing * everything
