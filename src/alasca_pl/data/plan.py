"""Which training samples an epoch uses, in which order and on which process."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from alasca_pl.core.seeds import generator


@dataclass(frozen=True)
class EpochPlan:
    """Which training samples an epoch uses, and in which order.

    Order and subset are functions of seed, epoch and labels alone. Each global batch is cut into nearly equal pieces, one
    for each rank, so that W processes take the same steps as one.

    Attributes:
        label: Observed labels, int64 (N,), on the CPU.
        batch_size: Size of the global batch.
        seed: The run's seed.
        drop_last: Whether to leave out a last batch that is smaller.
        subset_size: Use a subset of about this size, with equally many samples of every class by given label (fewer of
            classes that have fewer); None uses all.
        subset_redraw: Whether the subset is drawn anew each epoch.
        rank: Rank of this process.
        world: Number of processes.
    """

    label: Tensor
    batch_size: int
    seed: int
    drop_last: bool = False
    subset_size: int | None = None
    subset_redraw: bool = True
    rank: int = 0
    world: int = 1
    size: int = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.label)
        if self.subset_size is not None:
            size = int(torch.bincount(self.label).clamp_max(self._quota(self.subset_size)).sum())
        object.__setattr__(self, "size", size)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        count = self.size / self.batch_size
        return math.floor(count) if self.drop_last else math.ceil(count)

    def order(self, epoch: int) -> Tensor:
        """Indices of an epoch's samples in the order in which they are used, int64."""
        rng = generator(self.seed, "order", epoch)
        order = torch.randperm(len(self.label), generator=rng)
        if self.subset_size is None:
            return order
        chosen = order
        if not self.subset_redraw:
            chosen = torch.randperm(len(self.label), generator=generator(self.seed, "subset"))
        # The first n samples of a class in a random order are a random subset of it.
        label = self.label[chosen]
        by_class = torch.argsort(label, stable=True)
        counts = torch.bincount(label)
        starts = torch.cumsum(counts, 0) - counts
        place = torch.arange(len(label)) - starts[label[by_class]]
        inside = torch.zeros(len(self.label), dtype=torch.bool)
        inside[chosen[by_class[place < self._quota(self.subset_size)]]] = True
        return order[inside[order]]

    def _quota(self, subset_size: int) -> int:
        """Largest number of samples of one class in a subset."""
        return subset_size // int((torch.bincount(self.label) > 0).sum())

    def rank_batches(self, epoch: int, start: int = 0) -> list[Tensor]:
        """This rank's samples of each global batch of an epoch, from batch ``start`` on."""
        chunks = self.order(epoch).split(self.batch_size)[start : self.num_batches]
        return [chunk.tensor_split(self.world)[self.rank] for chunk in chunks]

    def partners(self, epoch: int) -> Tensor:
        """For each training sample another random one with the same given label, int64 (N,)."""
        members = torch.argsort(self.label, stable=True)
        counts = torch.bincount(self.label)
        starts = torch.cumsum(counts, 0) - counts
        rng = generator(self.seed, "partner", epoch)
        draws = torch.rand(len(self.label), generator=rng, dtype=torch.float64)
        return members[starts[self.label] + (draws * counts[self.label]).long()]
