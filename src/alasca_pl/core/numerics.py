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


def cost_of_labels(costs: Tensor, targets: Targets) -> Tensor:
    """Add up what the labels of each row cost, with their weights.

    Args:
        costs: What each class would cost as the label of a row, (B, K).
        targets: What each row is a mix of.

    Returns:
        (B,).
    """
    return (targets.weight * costs.gather(1, targets.label.T).T).sum(dim=0)
