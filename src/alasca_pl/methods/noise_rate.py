"""The share of wrong labels, estimated from how the losses of the training samples fall into two groups."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.methods.mixture import two_component_posterior

log = logging.getLogger(__name__)

# The mixture of LiJunnan1992/DivideMix on min-max normalised losses, iterated further.
_REG_COVAR = 5e-4
_MAX_ITER = 100
_TOL = 1e-4


def estimate_noise_rate(losses: np.ndarray, seed: int = 0) -> float:
    """Estimate the share of wrong labels from losses against the given labels.

    Per network, the losses are scaled to [0, 1], two Gaussians are fitted, and the mean posterior of the one with the
    higher losses is the estimate; networks are averaged.

    It rests on assumptions: the networks predict clean samples well by now and have not yet memorised wrong ones, so that
    the two groups are wrong and clean labels. Too early, hard clean samples count as wrong; too late, memorised samples
    count as clean; and losses without two groups, such as those of data without noise, are split all the same, which
    gives too large a rate. It sees no clean labels.

    Args:
        losses: Finite, float (M, N).
        seed: Of the mixture's start.

    Returns:
        A rate in [0, 1]; losses that are all alike give 0.

    Raises:
        ValueError: If losses are not finite or not (M, N).
    """
    if losses.ndim != 2 or losses.size == 0:
        raise ValueError(f"losses must have the shape (networks, samples), got {losses.shape}")
    rates = []
    for each in losses.astype(np.float64):
        span = each.max() - each.min()
        scaled = (each - each.min()) / span if span > 0 else np.zeros_like(each)
        low = two_component_posterior(scaled, "low", max_iter=_MAX_ITER, tol=_TOL, reg_covar=_REG_COVAR, seed=seed)
        # By the complement, because samples without two groups all count as low.
        rates.append(1.0 - low.mean())
    return float(np.clip(np.mean(rates), 0.0, 1.0))


class NoiseRateEstimate(nn.Module):
    """An estimate of the share of wrong labels that is part of the checkpoint; see ``estimate_noise_rate``.

    Args:
        seed: Of the mixture's start.
    """

    rate: float | None
    """The estimate, or None before the first."""
    epoch: int | None
    """The epoch before which it was made, or None."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.rate = None
        self.epoch = None
        # Only tells on which device the ranks can talk.
        self._place = torch.zeros(())

    def update(self, losses: Tensor, epoch: int) -> float:
        """Estimate anew; every rank must call it.

        Args:
            losses: Cross-entropy of all training samples against their given labels, float (M, N).
            epoch: The epoch that is about to begin.

        Returns:
            The rate, equal on all ranks.

        Raises:
            ValueError: If a loss is not finite.
        """
        # On all ranks, because an error on the first alone would leave the others waiting.
        if not torch.isfinite(losses).all():
            raise ValueError(f"losses before epoch {epoch} are not finite; has the run diverged?")
        values = losses.detach().cpu().numpy()
        place = from_rank_zero(lambda: torch.tensor(estimate_noise_rate(values, self.seed)), self._place)
        self.rate, self.epoch = float(place), epoch
        if rank() == 0:
            log.info("estimated before epoch %d that %.1f%% of the labels are wrong", epoch, 100.0 * self.rate)
        return self.rate

    def get_extra_state(self) -> dict[str, Any]:
        return {"rate": self.rate, "epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rate, self.epoch = state["rate"], state["epoch"]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NoiseRateEstimate":
        super()._apply(fn, recurse)
        self._place = self._place.to(fn(self._place).device)
        return self
