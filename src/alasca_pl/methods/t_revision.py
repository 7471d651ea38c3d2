"""T-revision: reweighting by an estimated transition matrix that is corrected along with the network at the end."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.numerics import full_precision, label_log_prob
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.loss_correction import LossCorrection

# Smallest probability of a given label, which a revised matrix may make negative.
_LEAST = 1e-8


class TransitionRevision(LossCorrection):
    """Cross-entropy until the matrix is estimated, then reweighted by it, at last by the matrix plus a learned correction ``D``.

    The weight of a sample is ``p_y / ((T + D)^T p)_y``. It has a gradient from ``revise_epoch`` on only, and so has ``D``,
    which is neither clipped nor scaled to rows that sum to 1.

    Args:
        num_classes: K.
        revise_epoch: First epoch, from 0, that learns ``D``.
        lr: Rate of ``D``, at least 0; it follows the schedule of the optimiser, which is one of the phase that begins there.
        estimator: See ``LossCorrection``.
        percentile: See ``LossCorrection``.
        estimate_epoch: See ``LossCorrection``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Xia et al., NeurIPS 2019. In xiaoboxia/T-Revision the correction is added once for every sample of the batch, or has
    no gradient; here it is added once. Weights go on from one stage to the next; there the best ones by noisy validation do.

    References:
        Xia et al.: Are Anchor Points Really Indispensable in Label-Noise Learning? NeurIPS 2019.
        https://arxiv.org/abs/1906.00189
        Code: xiaoboxia/T-Revision@b598cf2

    Example:
        >>> import torch
        >>> criterion = TransitionRevision(num_classes=3, estimate_epoch=0, revise_epoch=5)
        >>> criterion.parameter_groups()[0]["lr"], criterion.revision.abs().sum().item()
        (5e-07, 0.0)
    """

    def __init__(
        self,
        num_classes: int,
        revise_epoch: int = 100,
        lr: float = 5e-7,
        estimator: Literal["anchor", "dual_t", "consensus"] = "anchor",
        percentile: float | None = 97.0,
        estimate_epoch: int = 20,
    ) -> None:
        super().__init__(num_classes, "reweight", "estimated", estimator, percentile, estimate_epoch)
        check_whole_number("revise_epoch", revise_epoch, estimate_epoch, hint="estimate_epoch comes first")
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}; 0 keeps the estimate")
        self.revise_epoch = revise_epoch
        self.lr = lr
        self.revision = nn.Parameter(torch.zeros(num_classes, num_classes))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.revision], "lr": self.lr, "weight_decay": 0.0}]

    def inactive_because(self, last: Progress) -> str | None:
        revises = self.matrix is not None and last.epoch >= self.revise_epoch
        return None if revises else super().inactive_because(last)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        if self.matrix is None or progress.epoch < self.revise_epoch:
            # Data-parallel training wants each parameter to take part in each step.
            return super().forward(logits, targets, progress) + 0.0 * self.revision.sum()
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        matrix = self.matrix.to(log_probs) + full_precision(self.revision).to(log_probs.dtype)
        noisy = (log_probs.exp() * matrix.T[targets.label]).sum(dim=-1).clamp_min(_LEAST)
        log_prob = label_log_prob(log_probs, targets.label)
        return (targets.weight * (log_prob.exp() / noisy) * -log_prob).sum(dim=0)
