"""Collectives that are the identity in a single process."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes in the group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process in the group; 0 without a group."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_ranks(value: Tensor) -> Tensor:
    """Sum a detached tensor over all ranks; every rank must call it.

    Args:
        value: Any shape, the same on all ranks.

    Returns:
        A tensor of the same shape, equal on all ranks.
    """
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def gather_with_places(*rows: Tensor) -> tuple[Tensor, ...]:
    """Concatenate tensors over all ranks, which may hold different numbers of rows; every rank must call it.

    Args:
        rows: Detached tensors of any kind with equally many rows, (B, ...).

    Returns:
        Where this rank's rows are in what follows, int64 (B,); then each of the tensors with the rows of rank 0, those of
        rank 1 and so on: (B summed over ranks, ...), equal on all ranks.
    """
    count = len(rows[0])
    place = torch.arange(count, device=rows[0].device)
    if world_size() == 1:
        return place, *rows
    own_size = torch.tensor([count], device=place.device)
    counts = [torch.zeros_like(own_size) for _ in range(world_size())]
    dist.all_gather(counts, own_size)
    sizes = [int(one) for one in counts]
    longest = max(sizes)
    gathered = []
    for own in rows:
        # Collectives need equal shapes, so shorter tensors are padded before and cut after the exchange.
        padded = torch.cat([own, own.new_zeros(longest - count, *own.shape[1:])]).contiguous()
        everywhere = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(everywhere, padded)
        gathered.append(torch.cat([part[:size] for part, size in zip(everywhere, sizes)]))
    return place + sum(sizes[: rank()]), *gathered


def gather_rows(*rows: Tensor) -> tuple[Tensor, ...]:
    """What ``gather_with_places`` returns, without the places."""
    return gather_with_places(*rows)[1:]


def from_rank_zero(compute: Callable[[], Tensor], like: Tensor) -> Tensor:
    """Compute a tensor on rank 0 and broadcast it to all ranks; every rank must call it.

    For computations on the CPU that are slow, or whose last bits depend on libraries and threads.

    Args:
        compute: Called on rank 0 only; returns a tensor of the shape and type of ``like``.
        like: Gives shape, type and device.

    Returns:
        The tensor, on the device of ``like``, equal on all ranks.
    """
    if world_size() == 1:
        return compute().to(like)
    value = compute().to(like).contiguous() if rank() == 0 else torch.empty_like(like)
    dist.broadcast(value, src=0)
    return value
