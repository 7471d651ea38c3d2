"""Phases of a run: parts of the networks that get new weights, what is trained, and by which optimiser."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from alasca_pl.core.checks import check_whole_number
from alasca_pl.training.optim import OptimConfig

PartName = Literal["backbone", "earlier_stages", "last_stage", "head", "aux_heads"]


class Phase:
    """A section of a run, from an epoch until the next phase begins.

    Before the first phase all parts are trained by the run's optimiser. Each phase begins with an optimiser made anew, whose
    state is empty. What is not trained keeps its weights to the last bit, though statistics of batch normalisation go on.

    Args:
        start: First epoch, from 0; at least 1.
        renew: Parts of each network that get new weights, drawn by the rule of ``model.init`` from a stream of their own:
            ``backbone``, which is ``earlier_stages`` and ``last_stage``, ``head``, or ``aux_heads``.
        train: Parts that are trained, named as above; None for all.
        optimizer: From the parameters to an optimiser; None for the run's, whose schedule goes on where it stopped.
        scheduler: From that optimiser to a schedule, or None for a constant rate; only with an optimiser.
        observe: Whether parts with a table per sample take the predictions of this phase into it. Those of a renewed head are
            poor at first.

    Raises:
        ValueError: If a value is outside its range.

    Example:
        >>> import functools, torch
        >>> phase = Phase(start=20, renew=["head"], train=["head"], optimizer=functools.partial(torch.optim.Adam, lr=1e-4))
        >>> phase.train
        ('head',)
    """

    def __init__(
        self,
        start: int,
        renew: Sequence[PartName] = (),
        train: Sequence[PartName] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        observe: bool = True,
    ) -> None:
        check_whole_number("start", start, 1)
        if train is not None and not len(train):
            raise ValueError("train names nothing; name parts of the network, or null for all")
        if scheduler is not None and optimizer is None:
            raise ValueError("a phase with a scheduler needs an optimizer of its own; without both the run's go on")
        self.start = start
        self.renew: tuple[PartName, ...] = tuple(renew)
        self.train: tuple[PartName, ...] | None = None if train is None else tuple(train)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.observe = observe


def in_order(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Sort phases by their start.

    Raises:
        ValueError: If two begin at the same epoch.
    """
    ordered = sorted(phases, key=lambda phase: phase.start)
    for one, other in zip(ordered, ordered[1:]):  # noqa: RUF007
        if one.start == other.start:
            raise ValueError(f"two phases start at epoch {one.start}; each needs an epoch of its own")
    return tuple(ordered)


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase | None:
    """The phase that an epoch belongs to, or None before the first one."""
    return next((phase for phase in reversed(phases) if phase.start <= epoch), None)


def scheduled_epochs(phases: Sequence[Phase], epoch: int) -> int:
    """Number of epochs that the run's schedule has passed when the phase of an epoch begins.

    Example:
        >>> import functools, torch
        >>> refine = Phase(start=20, optimizer=functools.partial(torch.optim.Adam, lr=1e-4))
        >>> scheduled_epochs([refine, Phase(start=25)], epoch=30)
        20
    """
    passed, start, has_own = 0, 0, False
    for phase in phases:
        if phase.start > epoch:
            break
        passed += 0 if has_own else phase.start - start
        start, has_own = phase.start, phase.optimizer is not None
    return passed


def make_optimizer(
    optim: OptimConfig, phases: Sequence[Phase], epoch: int, parameters: Iterable[nn.Parameter]
) -> tuple[Optimizer, LRScheduler | None]:
    """Make optimiser and schedule as they are when the phase of an epoch begins."""
    phase = phase_at(phases, epoch)
    if phase is not None and phase.optimizer is not None:
        own = phase.optimizer(parameters)
        return own, None if phase.scheduler is None else phase.scheduler(own)
    optimizer = optim.optimizer(parameters)
    if optim.scheduler is None:
        return optimizer, None
    schedule = optim.scheduler(optimizer)
    with warnings.catch_warnings():
        # No step of the optimiser is taken.
        warnings.simplefilter("ignore")
        for _ in range(scheduled_epochs(phases, epoch)):
            schedule.step()
    return optimizer, schedule
