"""ELR+: early-learning regularisation with mixed inputs and targets from the averaged weights of a peer."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.elr import PROB_MARGIN, EarlyLearningRegularization


class EarlyLearningPlus(EarlyLearningRegularization):
    """The criterion of ELR+; mixing, two networks and averaged peers are set in its config.

    It differs from ELR's in three ways: predictions are averaged without a clamp, the regularizer's strength may
    increase over time, and labels may be sharpened by the average.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        strength: See ``EarlyLearningRegularization``.
        momentum: See ``EarlyLearningRegularization``.
        coef_step: Length of the ramp: at optimiser step n = 1, 2, ... the strength is multiplied by ``exp(-5 (1 - min(n
            / coef_step, 1))^2)``; 0 means no ramp.
        sharpen_labels: Multiply the (mixed) label by the (mixed) average, and scale it to sum to 1.
        half_table: See ``EarlyLearningRegularization``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Liu et al., NeurIPS 2020; shengliu66/ELR, ELR_plus.

    References:
        Liu et al.: Early-Learning Regularization Prevents Memorization of Noisy Labels. NeurIPS 2020.
        https://arxiv.org/abs/2007.00151
        Code: shengliu66/ELR@934af53

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> criterion = EarlyLearningPlus(num_samples=2, num_classes=3, coef_step=100)
        >>> criterion.observe(logits, index=torch.tensor([0, 1]))
        >>> criterion(logits, targets, now)
        tensor([0.4039, 1.4039])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        strength: float = 3.0,
        momentum: float = 0.7,
        coef_step: int = 0,
        sharpen_labels: bool = False,
        half_table: bool = False,
    ) -> None:
        super().__init__(num_samples, num_classes, strength, momentum, half_table)
        if not coef_step >= 0:
            raise ValueError(f"coef_step must be at least 0, got {coef_step}; 0 is no ramp")
        self.coef_step = coef_step
        self.sharpen_labels = sharpen_labels

    def observe(self, logits: Tensor, index: Tensor) -> None:
        self.average.update(F.softmax(logits.float(), dim=1), index)

    def inactive_because(self, last: Progress) -> str | None:
        return None if self.sharpen_labels else super().inactive_because(last)

    def ramp(self, step: int) -> float:
        """Fraction of the strength at an optimiser step, counted from 0 as in ``Progress``, in (0, 1]."""
        if self.coef_step == 0:
            return 1.0
        # The authors' formula counts steps from 1.
        return math.exp(-5.0 * (1.0 - min((step + 1) / self.coef_step, 1.0)) ** 2)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        weight = targets.weight.to(log_probs.dtype).unsqueeze(-1)
        early = (weight * self.average.read(targets)).sum(dim=0)
        label = (weight * F.one_hot(targets.label, log_probs.shape[1])).sum(dim=0)
        if self.sharpen_labels:
            product = label * early
            mass = product.sum(dim=1, keepdim=True)
            # A label to which the average assigns probability 0 is not changed.
            label = torch.where(mass > 0, product / torch.where(mass > 0, mass, torch.ones_like(mass)), label)
        ce = -(label * log_probs).sum(dim=1)
        probs = log_probs.exp().clamp(PROB_MARGIN, 1.0 - PROB_MARGIN)
        agreement = torch.log(1.0 - (early * probs).sum(dim=1))
        return ce + self.ramp(progress.step) * self.strength * agreement
