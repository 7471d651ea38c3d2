"""Targets made of given labels and of what networks predict."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Raise probabilities to a power of 1 over ``temperature`` and scale rows to a sum of 1.

    Args:
        probs: (B, K), rows sum to 1.
        temperature: Above 0; below 1 sharpens.

    Returns:
        (B, K).
    """
    # Computed with logarithms, because large powers of small numbers can all underflow to 0.
    return (probs.log() / temperature).softmax(dim=1)


def co_refine(onehot: Tensor, clean: Tensor, probs: Tensor) -> Tensor:
    """Mix given labels with a network's own predictions.

    Args:
        onehot: Given labels, (B, K).
        clean: Probability that each label is right, (B,).
        probs: Predictions, (B, K).

    Returns:
        (B, K): ``clean`` of the label and the rest of the prediction.
    """
    clean = clean.unsqueeze(1)
    return clean * onehot + (1.0 - clean) * probs


def co_guess(probs: Sequence[Tensor]) -> Tensor:
    """Average predictions (B, K) over views and networks."""
    return torch.stack(list(probs)).mean(dim=0)
