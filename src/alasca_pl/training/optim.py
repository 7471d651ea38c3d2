"""Optimiser and schedule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class OptimConfig:
    """How to make them.

    Attributes:
        optimizer: From the parameters of all networks and heads to one optimiser.
        scheduler: From the optimiser to a schedule that steps once per epoch, or None.
    """

    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
