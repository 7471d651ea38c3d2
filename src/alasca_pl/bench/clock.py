"""Wall and CPU time of a piece of work, and of the steps or the epoch of a run."""

import os
import time
from typing import Any, NamedTuple

import lightning as L
import torch


class Duration(NamedTuple):
    """Time of a piece of work.

    Attributes:
        wall: Seconds that passed. On a machine that others use, too, they depend on the others.
        cpu: Seconds of processors, of this process and of its children that have ended.
    """

    wall: float
    cpu: float

    def per(self, count: float) -> "Duration":
        """Time of one of several equal pieces."""
        return Duration(self.wall / count, self.cpu / count)


def now() -> Duration:
    """A point in time; queued work of GPUs is waited for."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    used = os.times()
    # Finer than os.times for the process itself.
    return Duration(time.perf_counter(), time.process_time() + used.children_user + used.children_system)


def since(begin: Duration) -> Duration:
    """Time that passed since a point in time."""
    end = now()
    return Duration(end.wall - begin.wall, end.cpu - begin.cpu)


class Clock(L.Callback):
    """Takes the time of a run from the end of a step to the end of another one; must come after all other callbacks.

    Args:
        first: Number of steps before the measured ones; 0 begins before scans of the first epoch.
        last: Number of steps until the end of the measured ones; None ends after evaluation, logging and checkpoint.

    Attributes:
        duration: What was measured.
    """

    def __init__(self, first: int, last: int | None) -> None:
        self.first, self.last = first, last
        self.duration: Duration | None = None
        self._begin: Duration | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.first == 0:
            self._begin = now()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done == self.last and self._begin is not None:
            self.duration = since(self._begin)
        if done == self.first:
            self._begin = now()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.last is None and self._begin is not None:
            self.duration = since(self._begin)
