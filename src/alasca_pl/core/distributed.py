"""Collectives that are the identity in a single process."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def world_size() -> int:
    """Number of processes in the group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's place in the group; 0 without a group."""
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


def gather_rows(index: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate rows and their indices over all ranks, which may hold different numbers of rows.

    Args:
        index: int64 (B,).
        rows: (B, R), detached.

    Returns:
        int64 (B summed over ranks,) and the rows in the same order, equal on all ranks.
    """
    world = world_size()
    if world == 1:
        return index, rows
    count = torch.tensor([len(index)], device=index.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    longest = max(sizes)
    # Collectives want equal shapes, so shorter parts travel padded and are cut again on arrival.
    padded_index = F.pad(index, (0, longest - len(index))).contiguous()
    padded_rows = F.pad(rows, (0, 0, 0, longest - len(rows))).contiguous()
    all_index = [torch.empty_like(padded_index) for _ in sizes]
    all_rows = [torch.empty_like(padded_rows) for _ in sizes]
    dist.all_gather(all_index, padded_index)
    dist.all_gather(all_rows, padded_rows)
    return (
        torch.cat([part[:size] for part, size in zip(all_index, sizes)]),
        torch.cat([part[:size] for part, size in zip(all_rows, sizes)]),
    )


def from_rank_zero(compute: Callable[[], Tensor], like: Tensor) -> Tensor:
    """Compute a tensor on rank 0 and hand it to all; every rank must call it.

    For computations on the CPU that are slow, or whose last bits depend on libraries and threads.

    Args:
        compute: Called on rank 0 only; returns a tensor of the shape and type of ``like``.
        like: Tells shape, type and device.

    Returns:
        The tensor, on the device of ``like``, equal on all ranks.
    """
    if world_size() == 1:
        return compute().to(like)
    value = compute().to(like).contiguous() if rank() == 0 else torch.empty_like(like)
    dist.broadcast(value, src=0)
    return value
