"""Quality of the selections of an epoch."""

from typing import Any

import torch
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks
from alasca_pl.core.metric_names import SELECT, MetricName, per_network
from alasca_pl.core.quality import selection_quality


class SelectionCounts:
    """Counts the selected and the clean samples of an epoch, equal on all ranks, which a checkpoint can store."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def add(self, selected: Tensor, clean: Tensor) -> None:
        """Add a batch; every rank must call it.

        Args:
            selected: Bool (M, B), for this rank's samples of the batch.
            clean: Bool (B,), whether the given label is the true one.
        """
        # Both, selected, clean, all: everything else follows from these.
        counts = torch.stack(
            [
                (selected & clean).sum(dim=1),
                selected.sum(dim=1),
                clean.sum().expand(len(selected)),
                torch.full((len(selected),), len(clean), device=clean.device),
            ],
            dim=1,
        )
        counts = sum_ranks(counts)
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def take(self) -> dict[str, float]:
        """Return the metrics of the epoch, per network and their mean, and reset; empty if nothing was added."""
        if self._counts is None:
            return {}
        each = [selection_quality(*(int(value) for value in row)) for row in self._counts]
        self._counts = None
        metrics = {str(MetricName(SELECT, name)): sum(one[name] for one in each) / len(each) for name in each[0]}
        for name in each[0]:
            metrics |= per_network(SELECT, name, [one[name] for one in each])
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._counts = state["counts"]
