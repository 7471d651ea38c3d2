"""Active negative losses: the passive term is the normalised negative of the active one."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.batch_mean import batch_mean
from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion, GradientTransform, Regularizer
from alasca_pl.core.types import Progress, StepView, Targets
from alasca_pl.methods.active_passive import check_weights, focal, normalised

# The smallest probability of the negative losses.
_LOG_LEAST = math.log(1e-7)


class ActiveNegative(Criterion):
    """``active_weight`` times a normalised loss plus ``passive_weight`` times its normalised negative.

    The negative of a loss is its largest value minus the loss, here for a smallest probability of 1e-7; normalised and
    subtracted from 1 it is a passive loss, whose sum over labels is constant. Unlike the absolute error it weighs labels
    more that the network already predicts.

    Args:
        loss: ``ce``, cross-entropy, or ``focal``.
        active_weight: The paper's alpha, at least 0.
        passive_weight: The paper's beta, at least 0.
        focal_power: Power of ``1 - p`` in ``focal``, at least 0. It scales the loss and has no gradient.

    Raises:
        ValueError: If a value is outside its range.

    Source: Ye et al., NeurIPS 2023; Virusdoll/Active-Negative-Loss.

    References:
        Ye et al.: Active Negative Loss Functions for Learning with Noisy Labels. NeurIPS 2023.
        https://mlanthology.org/neurips/2023/ye2023neurips-active
        Code: Virusdoll/Active-Negative-Loss@0c50009

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> ActiveNegative(active_weight=5.0, passive_weight=5.0)(logits, targets, now)
        tensor([3.7027, 5.0000])
    """

    def __init__(
        self,
        loss: Literal["ce", "focal"] = "ce",
        active_weight: float = 5.0,
        passive_weight: float = 5.0,
        focal_power: float = 0.5,
    ) -> None:
        super().__init__()
        if loss not in ("ce", "focal"):
            raise ValueError(f"unknown loss {loss!r}; choose one of ce, focal")
        check_weights(active_weight, passive_weight)
        if not focal_power >= 0:
            raise ValueError(f"focal_power must be at least 0, got {focal_power}; 0 is cross-entropy")
        self.active_weight = active_weight
        self.passive_weight = passive_weight
        # With power 0 the focal loss is cross-entropy.
        self.focal_power = focal_power if loss == "focal" else 0.0

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        active = normalised(focal(log_probs, self.focal_power))
        largest = -((1.0 - math.exp(_LOG_LEAST)) ** self.focal_power) * _LOG_LEAST
        negative = largest - focal(log_probs.clamp_min(_LOG_LEAST), self.focal_power)
        costs = self.active_weight * active + self.passive_weight * (1.0 - normalised(negative))
        return over_labels(costs, targets)


class AbsoluteWeightDecay(GradientTransform):
    """The gradient of ``strength`` times the sum of all parameters' absolute values, in place of squared weight decay.

    It acts on all parameters, biases and those of normalisation layers included.

    Args:
        strength: The paper's delta, at least 0.

    Raises:
        ValueError: If ``strength`` is negative.

    Source: Virusdoll/Active-Negative-Loss, there a term of the loss.

    References:
        Ye et al.: Active Negative Loss Functions for Learning with Noisy Labels. NeurIPS 2023.
        https://mlanthology.org/neurips/2023/ye2023neurips-active
        Code: Virusdoll/Active-Negative-Loss@0c50009

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress
        >>> weight = torch.nn.Parameter(torch.tensor([4.0, 0.0, -3.0]))
        >>> weight.grad = torch.ones(3)
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> AbsoluteWeightDecay(strength=0.5)([weight], now)
        >>> weight.grad
        tensor([1.5000, 1.0000, 0.5000])
    """

    def __init__(self, strength: float = 5e-5) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 switches the decay off")
        self.strength = strength

    @torch.no_grad()
    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        for each in parameters if self.strength else ():
            if each.grad is not None:
                each.grad.add_(each.sign(), alpha=self.strength)


class BatchEntropy(Regularizer):
    """How far the entropy of the mean prediction over the global batch is from its largest value, log K.

    It acts against labels of some classes being wrong more often than others. For the whole batch it is one number.

    Args:
        strength: Factor of the penalty.

    Raises:
        ValueError: If ``strength`` is negative.

    Source: Virusdoll/Active-Negative-Loss.

    References:
        Ye et al.: Active Negative Loss: A Robust Framework for Learning with Noisy Labels. arXiv 2024.
        https://arxiv.org/abs/2412.02373
        Code: Virusdoll/Active-Negative-Loss@0c50009

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import NetworkOutput, Progress, StepView
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        >>> label = torch.tensor([0, 1])
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> view = StepView.unmixed(NetworkOutput(logits, (), logits), label, label, torch.zeros(2), now)
        >>> BatchEntropy(strength=2.0)(view)
        tensor([0.0644, 0.0644])
    """

    def __init__(self, strength: float = 2.0) -> None:
        super().__init__(strength)

    def forward(self, view: StepView) -> Tensor:
        probs = F.softmax(full_precision(view.output.logits), dim=1)
        mean, factor = batch_mean(probs)
        least = math.exp(_LOG_LEAST)
        clamped = mean.clamp(least, 1.0 - least)
        q = clamped / clamped.sum()
        return ((math.log(len(q)) + (q * q.log()).sum()) * factor).expand(len(probs))
