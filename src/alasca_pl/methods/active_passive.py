"""Active-passive losses: a normalised loss, which is robust, plus one that pushes other classes down, so that it learns."""

import math
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets

Active = Literal["nce", "nfl", "ngce"]
Passive = Literal["mae", "rce", "agce", "aul", "ael"]


class ActivePassive(Criterion):
    """``active_weight`` times a normalised loss plus ``passive_weight`` times a passive one.

    A normalised loss is divided by its sum over all classes as labels. The sum over labels of an active-passive loss is
    therefore constant if that of the passive one is: this makes it robust to symmetric noise.

    Args:
        active: The loss that is normalised. ``nce``: cross-entropy; ``nfl``: focal loss; ``ngce``: generalised
            cross-entropy.
        passive: ``mae``: ``1 - p_y``; ``rce``: ``-log_zero (1 - p_y)``; and three asymmetric losses,
            ``agce``: ``((shift + 1)^power - (shift + p_y)^power) / power``,
            ``aul``: ``((shift - p_y)^power - (shift - 1)^power) / power``, ``ael``: ``exp(-p_y / shift)``.
        active_weight: The paper's alpha, at least 0.
        passive_weight: The paper's beta, at least 0.
        log_zero: Stands for log 0 in ``rce``, below 0.
        focal_power: Power of ``1 - p`` in ``nfl``, at least 0. It scales the loss and has no gradient.
        gce_power: Power of ``ngce``, in (0, 1].
        shift: Of the asymmetric losses; at least 0 for ``agce``, at least 1 for ``aul``, above 0 for ``ael``.
        power: Of ``agce`` and ``aul``, above 0.

    Raises:
        ValueError: If a value is outside its range.

    Source: Ma et al., ICML 2020; asymmetric losses of Zhou et al., ICML 2021; both as in Virusdoll/Active-Negative-Loss.

    References:
        Ma et al.: Normalized Loss Functions for Deep Learning with Noisy Labels. ICML 2020.
        https://arxiv.org/abs/2006.13554
        Zhou et al.: Asymmetric Loss Functions for Learning with Noisy Labels. ICML 2021.
        https://arxiv.org/abs/2106.03110
        Code: HanxunH/Active-Passive-Losses@04bce53, Virusdoll/Active-Negative-Loss@0c50009

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> ActivePassive(active="nce", passive="rce")(logits, targets, now)
        tensor([3.1798, 7.2896])
    """

    def __init__(
        self,
        active: Active = "nce",
        passive: Passive = "rce",
        active_weight: float = 1.0,
        passive_weight: float = 1.0,
        log_zero: float = math.log(1e-4),
        focal_power: float = 0.5,
        gce_power: float = 0.7,
        shift: float = 6.0,
        power: float = 1.5,
    ) -> None:
        super().__init__()
        if active not in get_args(Active):
            raise ValueError(f"unknown active loss {active!r}; choose one of {', '.join(get_args(Active))}")
        if passive not in get_args(Passive):
            raise ValueError(f"unknown passive loss {passive!r}; choose one of {', '.join(get_args(Passive))}")
        check_weights(active_weight, passive_weight)
        if not log_zero < 0:
            raise ValueError(f"log_zero must be below 0, got {log_zero}; it stands for the logarithm of zero")
        if not focal_power >= 0:
            raise ValueError(f"focal_power must be at least 0, got {focal_power}; 0 is cross-entropy")
        if not 0.0 < gce_power <= 1.0:
            raise ValueError(f"gce_power must lie in (0, 1], got {gce_power}")
        if not power > 0:
            raise ValueError(f"power must be above 0, got {power}")
        if not (shift >= 1 if passive == "aul" else shift > 0 if passive == "ael" else shift >= 0):
            raise ValueError(f"shift must be at least 0, at least 1 for aul and above 0 for ael, got {shift}")
        self.active = active
        self.passive = passive
        self.active_weight = active_weight
        self.passive_weight = passive_weight
        self.log_zero = log_zero
        self.focal_power = focal_power
        self.gce_power = gce_power
        self.shift = shift
        self.power = power

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        costs = self.active_weight * self._active(log_probs) + self.passive_weight * self._passive(log_probs.exp())
        return over_labels(costs, targets)

    def _active(self, log_probs: Tensor) -> Tensor:
        match self.active:
            case "nfl":
                return normalised(focal(log_probs, self.focal_power))
            case "ngce":
                return normalised(1.0 - (self.gce_power * log_probs).exp())
        return normalised(-log_probs)

    def _passive(self, probs: Tensor) -> Tensor:
        match self.passive:
            case "rce":
                return -self.log_zero * (1.0 - probs)
            case "agce":
                # The bound keeps the gradient finite for a shift of 0 and a power below 1.
                raised = (self.shift + probs).clamp_min(1e-7) ** self.power
                return ((self.shift + 1.0) ** self.power - raised) / self.power
            case "aul":
                raised = (self.shift - probs).clamp_min(1e-7) ** self.power
                return (raised - (self.shift - 1.0) ** self.power) / self.power
            case "ael":
                return (-probs / self.shift).exp()
        return 1.0 - probs


def check_weights(active_weight: float, passive_weight: float) -> None:
    """Refuse negative weights.

    Raises:
        ValueError: If one is negative.
    """
    for name, value in (("active_weight", active_weight), ("passive_weight", passive_weight)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}; 0 leaves this loss out")


def normalised(costs: Tensor) -> Tensor:
    """Divide what each class costs as a label by the sum over all classes, (B, K)."""
    return costs / costs.sum(dim=1, keepdim=True)


def focal(log_probs: Tensor, power: float) -> Tensor:
    """``(1 - p)^power`` times cross-entropy for each class as the label, (B, K); the factor has no gradient."""
    # Rounding may carry a probability above 1.
    factor = (1.0 - log_probs.detach().exp()).clamp_min(0.0) ** power
    return -factor * log_probs
