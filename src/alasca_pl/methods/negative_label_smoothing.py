"""Generalised label smoothing, whose factor may be negative."""

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class GeneralisedLabelSmoothing(Criterion):
    """``(1 - smoothing) CE_y + smoothing * mean_k CE_k``; a negative smoothing makes the label count more than once.

    Args:
        smoothing: At most 1. Below 0 the loss has no lower bound.
        warmup_epochs: Epochs of cross-entropy before.

    Raises:
        ValueError: If a value is outside its range.

    Source: Wei et al., ICML 2022; UCSC-REAL/negative-label-smoothing, where the best weights on the test set start the second
    phase. Here the current ones do.

    References:
        Wei et al.: To Smooth or Not? When Label Smoothing Meets Noisy Labels. ICML 2022.
        https://arxiv.org/abs/2106.04149
        Code: UCSC-REAL/negative-label-smoothing@05078f6

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> GeneralisedLabelSmoothing(smoothing=-0.4)(logits, targets, now)
        tensor([0.0076, 1.4076])
    """

    def __init__(self, smoothing: float = -0.4, warmup_epochs: int = 0) -> None:
        super().__init__()
        if not smoothing <= 1:
            raise ValueError(f"smoothing must be at most 1, got {smoothing}")
        if not warmup_epochs >= 0:
            raise ValueError(f"warmup_epochs must be at least 0, got {warmup_epochs}")
        self.smoothing = smoothing
        self.warmup_epochs = warmup_epochs

    def inactive_because(self, last: Progress) -> str | None:
        if self.smoothing == 0.0:
            return "smoothing=0"
        if last.epoch < self.warmup_epochs:
            return f"its warm-up of {self.warmup_epochs} epochs (warmup_epochs) covers the run"
        return None

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        costs = -F.log_softmax(full_precision(logits), dim=1)
        smoothing = self.smoothing if progress.epoch >= self.warmup_epochs else 0.0
        # The smoothed part is left out at 0 and not added as 0 times it, which would be no number for an infinite cost.
        loss = over_labels(costs, targets)
        return (1.0 - smoothing) * loss + smoothing * costs.mean(dim=1) if smoothing else loss
