"""Means over an epoch that survive an interruption within it."""

from typing import Any

import torch
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks


class EpochMeans:
    """Sums and counts by name, equal on all ranks, which a checkpoint can store.

    Lightning's own epoch means are kept in memory only: after a resume within an epoch they would cover only the rest
    of it.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Add sums and counts of one step; every rank must call it with the same names in the same order.

        Args:
            values: Name to a pair of detached scalars: sum and count over this rank's samples of the batch.
        """
        if not values:
            return
        # One collective per step: all values are sent as one vector.
        device = next(iter(values.values()))[0].device
        dtype = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no double precision
        flat = torch.stack([torch.stack([total.to(dtype), count.to(dtype)]) for total, count in values.values()])
        for name, pair in zip(values, sum_ranks(flat)):
            self._sums[name] = self._sums[name].to(pair.device) + pair if name in self._sums else pair

    def take(self) -> dict[str, float]:
        """Return the means by name, without names whose count is 0, and reset."""
        means = {name: float(pair[0] / pair[1]) for name, pair in self._sums.items() if pair[1] > 0}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return dict(self._sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums = dict(state)
