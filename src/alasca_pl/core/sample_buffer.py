"""A table with one row per training sample, equal on all ranks and kept in the checkpoint."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import gather_rows
from alasca_pl.core.types import Targets

log = logging.getLogger(__name__)
# From so many bytes on the log tells the size of a table, before its memory is taken.
_LARGE = 2**28


class SampleBuffer(nn.Module):
    """Exponential moving average with one row per training sample.

    The table is not a registered buffer: data-parallel training would copy rank 0's table over the others' at each
    forward pass and lose half of the updates without an error. It is kept in the extra state, which checkpoints hold.

    Args:
        num_samples: N, at least 1.
        row_size: R, at least 1.
        momentum: Fraction of the old row that is kept at an update, in [0, 1). With 0 the table holds the latest rows.
        initial: Value of all entries before the first update.
        half: Store rows as float16, in half of the memory and with three digits, instead of float32. All arithmetic is in
            float32 either way.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> import torch
        >>> table = SampleBuffer(num_samples=3, row_size=1, momentum=0.75)
        >>> table.update(torch.tensor([[4.0], [8.0]]), index=torch.tensor([2, 0]))
        >>> table.update(torch.tensor([[4.0]]), index=torch.tensor([2]))
        >>> table.rows.flatten().tolist()
        [2.0, 0.0, 1.75]
        >>> table.fill(torch.tensor([[7.0], [8.0], [9.0]]))
        >>> table.rows.flatten().tolist()
        [7.0, 8.0, 9.0]
    """

    rows: Tensor

    def __init__(
        self, num_samples: int, row_size: int, momentum: float, initial: float = 0.0, half: bool = False
    ) -> None:
        super().__init__()
        if num_samples < 1 or row_size < 1:
            raise ValueError(f"a table needs at least one row and column, got {num_samples} x {row_size}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}; 0 keeps only the latest value")
        if not isinstance(half, bool):
            raise ValueError(f"half must be true or false, got {half!r}")
        self.momentum = momentum
        dtype = torch.float16 if half else torch.float32
        size = dtype.itemsize * num_samples * row_size
        if size >= _LARGE:
            log.info(
                "a table of %d samples x %d values takes %.1f GB of memory, and of each checkpoint",
                num_samples, row_size, size / 1e9,
            )  # fmt: skip
        # Set without nn.Module's own bookkeeping, which would reject a later copy that is not a registered buffer.
        self.__dict__["rows"] = torch.full((num_samples, row_size), initial, dtype=dtype)

    @torch.no_grad()
    def update(self, rows: Tensor, index: Tensor) -> None:
        """Move the rows of a batch towards new values, equally on every rank.

        The row of an index that occurs several times in one global batch moves once, towards the mean of its values.

        Args:
            rows: New values, float (B, R).
            index: int64 (B,).
        """
        index, rows = gather_rows(index, rows.detach().float())
        old = self.rows[index].float()
        self.rows[index] = (self.momentum * old + (1.0 - self.momentum) * _means(rows, index)).to(self.rows.dtype)

    @torch.no_grad()
    def add(self, rows: Tensor, index: Tensor) -> None:
        """Add values to the rows of a batch, equally on every rank; without momentum, as a step of gradient descent.

        The row of an index that occurs several times in one global batch gets the sum of its values.

        Args:
            rows: Values to add, float (B, R).
            index: int64 (B,).
        """
        index, rows = gather_rows(index, rows.detach().float())
        self.rows.index_add_(0, index, rows.to(self.rows.dtype))

    @torch.no_grad()
    def fill(self, rows: Tensor) -> None:
        """Replace the whole table, without momentum; for values computed from a scan of the training set.

        Args:
            rows: New values in index order, float (N, R), equal on all ranks.

        Raises:
            ValueError: If the shape differs from the table's.
        """
        if rows.shape != self.rows.shape:
            raise ValueError(f"the table has shape {tuple(self.rows.shape)}, got rows of shape {tuple(rows.shape)}")
        self.rows.copy_(rows)

    def read(self, targets: Targets) -> Tensor:
        """Return the rows of all samples that a batch is mixed from, float32 (V, B, R)."""
        return self.rows[targets.index].float()

    def get_extra_state(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        rows = state["rows"]
        if rows.shape != self.rows.shape:
            raise ValueError(
                f"the stored table has shape {tuple(rows.shape)}, this run needs {tuple(self.rows.shape)}; "
                "was the checkpoint made with another data set or split?"
            )
        self.rows.copy_(rows)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SampleBuffer":
        # Follow the module to another device, but keep every digit when the module changes precision.
        super()._apply(fn, recurse)
        self.__dict__["rows"] = self.rows.to(fn(self.rows).device)
        return self


def _means(rows: Tensor, index: Tensor) -> Tensor:
    """Replace each row by the mean of all rows of the same index, (B, R)."""
    if index.device.type == "cpu" and len(set(index.tolist())) == len(index):
        # As loaders yield them; a look at them costs less than the sums below.
        return rows
    # Unlike torch.unique this knows all shapes beforehand, so that the host does not wait for an accelerator.
    ordered, order = index.sort()
    starts = torch.cat([ordered.new_zeros(1), (ordered[1:] != ordered[:-1]).long()])
    place = torch.empty_like(order).scatter_(0, order, starts.cumsum(0))
    sums = torch.zeros_like(rows).index_add_(0, place, rows)
    counts = torch.zeros_like(rows[:, :1]).index_add_(0, place, torch.ones_like(rows[:, :1]))
    return (sums / counts)[place]
