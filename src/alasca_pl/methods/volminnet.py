"""VolMinNet: forward correction by a matrix that is learned along, as small in volume as the labels allow."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.loss_correction import log_noisy_prob


class VolumeMinimisation(Criterion):
    """``-log (T^T p)_y + strength * log |det T|`` with a matrix ``T`` that is learned end to end.

    ``T`` is the identity plus the sigmoid of free numbers off the diagonal, its rows scaled to sum to 1. The second term is one
    for the whole batch. Like the networks, ``T`` is trained by the run's optimiser, with a rate of its own that follows the run's
    schedule.

    Args:
        num_classes: K.
        strength: The paper's lambda, at least 0.
        start: The free numbers at first.
        lr: Rate of ``T``, at least 0.
        momentum: Momentum of ``T``, in [0, 1); only optimisers with an option of this name use it.

    Raises:
        ValueError: If a value is outside its range.

    Source: Li et al., ICML 2021; the logarithm of ``|det T|`` as in the authors' code.

    References:
        Li et al.: Provably End-to-end Label-Noise Learning without Anchor Points. ICML 2021.
        https://arxiv.org/abs/2102.02400
        Code: xuefeng-li1/Provably-end-to-end-label-noise-learning-without-anchor-points@06e4167

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> criterion = VolumeMinimisation(num_classes=3, strength=0.0)
        >>> criterion(logits, targets, now).detach()
        tensor([0.5632, 1.3082])
        >>> criterion.matrix().diagonal().detach()
        tensor([0.8075, 0.8075, 0.8075])
    """

    def __init__(
        self, num_classes: int, strength: float = 1e-4, start: float = -2.0, lr: float = 0.01, momentum: float = 0.9
    ) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 leaves the volume free")
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}; 0 keeps the first matrix")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.strength = strength
        self.lr = lr
        self.momentum = momentum
        self.free = nn.Parameter(torch.full((num_classes, num_classes), float(start)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.free], "lr": self.lr, "momentum": self.momentum, "weight_decay": 0.0}]

    def matrix(self) -> Tensor:
        """The matrix as it is now, (K, K), attached to the graph; rows are positive and sum to 1."""
        identity = torch.eye(len(self.free), dtype=self.free.dtype, device=self.free.device)
        rows = identity + (1.0 - identity) * self.free.sigmoid()
        return rows / rows.sum(dim=1, keepdim=True)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        matrix = full_precision(self.matrix())
        losses = -log_noisy_prob(log_probs, matrix.to(log_probs.dtype), targets.label)
        # Added to each sample, so that the mean over samples contains it once.
        return (targets.weight * losses).sum(dim=0) + self.strength * torch.linalg.slogdet(matrix).logabsdet
