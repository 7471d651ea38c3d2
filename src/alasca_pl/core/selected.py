"""Small losses and selected samples, over the global batch."""

import torch
from torch import Tensor

from alasca_pl.core.distributed import gather_with_places, sum_ranks


def kept_count(forget_rate: float, batch_size: int) -> int:
    """Number of samples kept of a batch, rounded down; all if none would be left.

    Example:
        >>> kept_count(0.25, 10), kept_count(1.0, 10)
        (7, 10)
    """
    # 0.1 * 10 computed as (1 - 0.9) * 10 lies just below 1.
    return int((1.0 - forget_rate) * batch_size + 1e-9) or batch_size


def keep_small_losses(losses: Tensor, index: Tensor, forget_rate: float, among: Tensor | None = None) -> Tensor:
    """Mark the samples of the global batch with the smallest losses; every rank must call it.

    The global batch is ranked, so that several processes keep what one process keeps. Among equal losses the smaller index
    comes first, whatever the order of the batch.

    Args:
        losses: (R, B), R rankings of the same samples, e.g. one per network; detached.
        index: int64 (B,).
        forget_rate: Fraction of the global batch that is dropped, in [0, 1]; see ``kept_count``.
        among: bool (B,), the samples that are ranked and counted, or None for all; the others are not kept.

    Returns:
        1 for kept samples and 0 for others, like ``losses``.

    Example:
        >>> import torch
        >>> losses = torch.tensor([[0.3, 0.1, 0.3, 0.9], [0.0, 5.0, 6.0, 7.0]])
        >>> keep_small_losses(losses, index=torch.tensor([8, 2, 5, 1]), forget_rate=0.5)
        tensor([[0., 1., 1., 0.],
                [1., 1., 0., 0.]])
    """
    if among is None:
        own, everywhere, rows = gather_with_places(index, losses.T)
        by_index = torch.argsort(everywhere, stable=True)
    else:
        own, everywhere, rows, ranked_ones = gather_with_places(index, losses.T, among)
        by_index = torch.argsort(everywhere, stable=True)
        by_index = by_index[ranked_ones[by_index]]
    count = kept_count(forget_rate, len(by_index))
    kept = torch.empty_like(losses)
    for number in range(len(losses)):
        ranked = rows[:, number]
        smallest = by_index[torch.argsort(ranked[by_index], stable=True)][:count]
        kept[number] = torch.zeros_like(ranked).index_fill_(0, smallest, 1.0)[own]
    return kept


def over_selected(penalty: Tensor, weight: Tensor) -> Tensor:
    """Rescale a penalty so that a step's mean becomes the mean over selected samples; every rank must call it.

    A step divides the sum of a penalty by the size of the global batch. This function returns 0 for samples that are
    not selected and multiplies the penalty of the others by that size divided by the number of selected samples.

    Args:
        penalty: (B,), attached to the graph.
        weight: Selection weights, (B,); samples with a weight above 0 are selected and count equally.

    Returns:
        (B,); zeros if nothing is selected in the global batch.

    Example:
        >>> import torch
        >>> over_selected(torch.tensor([1.0, 5.0, 3.0, 7.0]), weight=torch.tensor([1.0, 0.0, 0.5, 0.0])).mean()
        tensor(2.)
    """
    selected = (weight > 0).to(penalty.dtype)
    chosen, everything = sum_ranks(torch.stack([selected.sum(), torch.ones_like(selected).sum()]))
    return selected * penalty * (everything / chosen.clamp_min(1.0))
