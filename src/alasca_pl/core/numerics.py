"""Numerical guards shared by losses."""

import torch
from torch import Tensor

from alasca_pl.core.types import Targets


def full_precision(logits: Tensor) -> Tensor:
    """Return half-precision logits as float32 and leave wider ones alone, for softmax and logarithms."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def label_log_prob(log_probs: Tensor, label: Tensor) -> Tensor:
    """Pick the log-probability of each sample's label.

    Args:
        log_probs: (B, K).
        label: int64 (V, B).

    Returns:
        (V, B).
    """
    return log_probs.gather(1, label.T).T


def over_labels(values: Tensor, targets: Targets) -> Tensor:
    """Add up the values of each row's labels, with the labels' weights.

    Args:
        values: Of each class, e.g. what it would cost as the label of a row, or its log-probability, (B, K).
        targets: What each row is a mix of.

    Returns:
        (B,).
    """
    return (targets.weight * label_log_prob(values, targets.label)).sum(dim=0)
