"""A run that is told to stop takes its other processes with it."""

from typing import Any

import lightning as L
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

from alasca_pl.core import interrupts


class Stopping(L.Callback):
    """Heeds ``core.interrupts`` while Lightning trains. Must be the first callback."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            # There Lightning's own handlers put the job back into the queue.
            return
        # Lightning's handler broadcasts in the middle of whatever is computed.
        interrupts.reinstall()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        interrupts.check()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        interrupts.check()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, interrupts.Interrupted):
            end_other_processes(trainer)


def end_other_processes(trainer: L.Trainer) -> None:
    """Kill the ranks that this process has started, and wait for that."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        started = list(launcher.procs)
        # Lightning watches this list, and kills this process if one of the others was killed.
        launcher.procs.clear()
        for process in started:
            process.kill()
            process.wait()
    elif isinstance(launcher, _MultiProcessingLauncher):
        for forked in launcher.procs:
            forked.kill()
            forked.join(10)
