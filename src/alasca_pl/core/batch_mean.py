"""Losses on the mean over the global batch, which are no means over samples themselves."""

import torch
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks, world_size


def own_slope(own: Tensor, everywhere: Tensor) -> Tensor:
    """The value of all ranks with the gradient of the own rows only.

    Gradients are averaged over ranks afterwards. If ``own`` is a rank's sum divided by the global count over the number of
    ranks, the averaged gradient of a loss on the result is that of one process.

    Args:
        own: Attached to the graph.
        everywhere: Of the same shape.
    """
    return own + (everywhere - own).detach()


def batch_mean(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the global batch, for a loss on it; every rank must call it.

    Args:
        rows: (B, R), attached to the graph.

    Returns:
        The mean (R,), equal on all ranks, with the gradient of the own rows; and a factor for the loss on it: what a step adds
        up over this rank's samples, if each of them costs the loss times the factor, is the loss once per rank.

    Example:
        >>> import torch
        >>> mean, factor = batch_mean(torch.tensor([[1.0, 4.0], [3.0, 0.0]]))
        >>> mean, factor
        (tensor([2., 2.]), tensor(1.))
    """
    own = rows.sum(dim=0)
    local = torch.cat([own.detach(), own.new_tensor([float(len(rows))])])
    everywhere = sum_ranks(local) / world_size()
    count = everywhere[-1]
    return own_slope(own / count, everywhere[:-1] / count), count / max(1, len(rows))
