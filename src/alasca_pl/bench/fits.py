"""Steps and epochs as a run takes them, with Lightning, callbacks, evaluation and checkpoints."""

import math
import tempfile
from pathlib import Path

import lightning as L
import torch

from alasca_pl.bench.clock import Clock, Duration
from alasca_pl.bench.memory import StepMemory
from alasca_pl.build.data import build_data
from alasca_pl.build.make import Config
from alasca_pl.build.module import build_module, connect
from alasca_pl.build.precision import resolve_precision
from alasca_pl.build.trainer import build_trainer
from alasca_pl.core.paths import absolute_paths
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.threads import choose_threads, pass_on
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.runs.digests import flop_counts

# Steps of each turn before those that are measured: buffers are allocated, kernels chosen.
WARM_UP = 2


class Fit:
    """A case: steps or one whole epoch of a run in the middle of its schedule.

    Each turn builds networks and trainer anew and trains the same epoch, so that methods with a warm-up have it behind them.

    Args:
        name: What the table calls it.
        config: Resolved config as plain containers.
        data: The data, if another case has built them from the same group ``data``.
        steps: Number of steps, or None for an epoch with scans, evaluation, logging and checkpoint.
    """

    def __init__(self, name: str, config: Config, data: NoisyDataModule | None, steps: int | None) -> None:
        self.name = name
        precision, self.remark = resolve_precision(config["trainer"])
        self.config = {**absolute_paths(config), "trainer": {**config["trainer"], "precision": precision}}
        self.data = build_data(self.config) if data is None else data
        self.steps = steps
        self.memory: int | None = None
        self.flops: int | None = None
        self.images = 0

    def measure(self) -> Duration:
        """Train and return the time of a step, or of the epoch."""
        config = self.config
        L.seed_everything(config["seed"] % 2**32, verbose=False)
        module = build_module(config, self.data.facts)
        connect(module, self.data)
        if self.flops is None:
            each = flop_counts(module.method.networks[0], self.data.facts.image_shape)  # type: ignore[arg-type]
            self.flops = sum(each.values()) * len(module.method.networks)
        epoch = config["epochs"] // 2
        settings = {**config["trainer"], "max_epochs": epoch + 1, "enable_progress_bar": False}
        if self.steps is not None:
            # Enough for one epoch; evaluation is not part of a step.
            settings |= {"limit_train_batches": WARM_UP + self.steps, "limit_val_batches": 0}
        clock = Clock(*((0, None) if self.steps is None else (WARM_UP, WARM_UP + self.steps)))
        memory = StepMemory()
        with tempfile.TemporaryDirectory() as folder:
            trainer = build_trainer(
                {**config, "trainer": settings, "callbacks": {}}, self.data, RunFolder(Path(folder))
            )
            trainer.callbacks += [clock] if self.memory is not None else [memory, clock]  # type: ignore[attr-defined]
            _go_to(trainer, epoch)
            trainer.fit(module, self.data)
        assert clock.duration is not None, "the epoch has fewer steps than are measured"
        if self.memory is None:
            self.memory = memory.bytes
        batch = self.data.batch_size
        self.images = batch if self.steps is not None else self._epoch_images(trainer)
        return clock.duration if self.steps is None else clock.duration.per(self.steps)

    def _epoch_images(self, trainer: L.Trainer) -> int:
        return min(self.data.sizes["train"], int(trainer.num_training_batches) * self.data.batch_size)


def steps_in_epoch(data: NoisyDataModule) -> int:
    """Number of whole batches of the training split."""
    return data.sizes["train"] // data.batch_size


def use_threads(config: Config, data: NoisyDataModule) -> str:
    """Set the number of threads as a run does, and say which and why."""
    network = build_module(config, data.facts).method.networks[0]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    number, why = choose_threads(config["threads"], math.prod(data.facts.image_shape[1:]), parameters)
    if number is not None:
        torch.set_num_threads(number)
        pass_on(number)
    return f"{torch.get_num_threads()} ({why})"


def _go_to(trainer: L.Trainer, epoch: int) -> None:
    """Let a trainer begin at an epoch as if it had trained the ones before."""
    at = trainer.fit_loop.epoch_progress.current
    at.load_state_dict(dict.fromkeys(("ready", "started", "processed", "completed"), epoch))
