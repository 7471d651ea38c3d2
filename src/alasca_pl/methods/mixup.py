"""Mixup: train on convex mixes of two samples."""

import math

import numpy as np
import torch
from torch import Tensor

from alasca_pl.core.distributed import gather_with_places
from alasca_pl.core.parts import InputMixer
from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.core.types import Batch, Progress, Targets


class Mixup(InputMixer):
    """Mix each sample with another of the global batch, all with the same weight.

    The weight is ``max(l, 1 - l)`` with l drawn from Beta(alpha, alpha), so that the first sample dominates. Several
    processes mix the same pairs as one, for which they exchange their images at each step.

    Args:
        alpha: Of the Beta distribution, at least 0; 0 does not mix.
        seed: Of the draws.

    Raises:
        ValueError: If ``alpha`` is negative or not finite.

    Source: Zhang et al., ICLR 2018; the maximum as in shengliu66/ELR.

    References:
        Zhang et al.: mixup: Beyond Empirical Risk Minimization. ICLR 2018. https://arxiv.org/abs/1710.09412
        Code: shengliu66/ELR@934af53

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Batch, Progress
        >>> batch = Batch(torch.randn(2, 1, 4, 4), torch.tensor([1, 0]), torch.tensor([5, 6]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> image, targets = Mixup(alpha=1.0, seed=0)(batch, now)
        >>> targets.weight.sum(dim=0)
        tensor([1., 1.])
    """

    def __init__(self, alpha: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if not (alpha >= 0.0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be a number of at least 0, got {alpha}; 0 does not mix")
        self.alpha = alpha
        self.seed = seed

    def own_fraction(self, step: int) -> float:
        """Weight of the first sample at a step, in [0.5, 1]."""
        if self.alpha == 0.0:
            return 1.0
        draw = np.random.default_rng(derive_seed(self.seed, "mixup", step)).beta(self.alpha, self.alpha)
        return float(max(draw, 1.0 - draw))

    def inactive_because(self, last: Progress) -> str | None:
        return None if self.alpha else "alpha=0"

    def forward(self, batch: Batch, progress: Progress) -> tuple[Tensor, Targets]:
        own = self.own_fraction(progress.step)
        rng = generator(self.seed, "mixup partners", progress.step)
        place, images, labels, indices = gather_with_places(batch.image, batch.label, batch.index)
        order = torch.randperm(len(labels), generator=rng).to(labels.device)
        partner = order[place]
        image = own * batch.image + (1.0 - own) * images[partner]
        weight = torch.tensor([[own], [1.0 - own]], device=labels.device).repeat(1, len(partner))
        return image, Targets(
            torch.stack([batch.label, labels[partner]]),
            torch.stack([batch.index, indices[partner]]),
            weight,
        )
