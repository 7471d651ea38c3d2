"""Checkpoints: the last one to resume from, the best on validation to use."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_archive
from alasca_pl.core.metric_names import VAL, accuracy
from alasca_pl.core.run_folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint with its checksum, atomically: a killed run leaves the old file or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Write a checkpoint, atomically.

        Raises:
            UserError: If the disk does not take it, or the run's folder is gone.
        """
        folder = Path(path).parent.parent
        if not folder.is_dir():
            # Made again it might lie on another disk than the one that vanished.
            raise UserError(f"cannot write {Path(path).name}: the folder {folder} is gone")
        write_archive(Path(path), lambda file: torch.save(checkpoint, file))


class _MovableCheckpoint(ModelCheckpoint):
    """Keeps its best score even if the run's folder was moved; Lightning drops it when the path changes.

    Epochs in which the monitored accuracy was not measured are passed over.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        moved = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = here(state_dict.get(name, ""))
        moved["best_k_models"] = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(moved)


class _StepCheckpoint(_MovableCheckpoint):
    """Checkpoints within an epoch, but not at its last batch: validation and epoch hooks would be lost on resume."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def checkpoint_callbacks(folder: RunFolder, has_val: bool, every_n_steps: int | None = None) -> list[ModelCheckpoint]:
    """Make the callbacks that write ``last.ckpt`` and, with validation data, ``best.ckpt``.

    Args:
        folder: The run's folder.
        has_val: Whether ``val/acc`` is measured.
        every_n_steps: Number of optimiser steps after which ``last.ckpt`` is also written; None writes it at the end of
            epochs only.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """
    common: dict[str, Any] = {
        "dirpath": folder.checkpoints,
        "save_top_k": 1,
        "enable_version_counter": False,
        "save_last": False,
    }
    # One callback with save_last=True would let last.ckpt be the last improved epoch.
    last = _MovableCheckpoint(
        filename=folder.last.stem, monitor=None, every_n_epochs=1, save_on_train_epoch_end=True, **common
    )
    callbacks: list[ModelCheckpoint] = []
    if every_n_steps is not None:
        if every_n_steps < 1:
            raise ValueError(f"checkpoint.every_n_steps must be at least 1, got {every_n_steps}; null switches it off")
        callbacks.append(
            _StepCheckpoint(filename=folder.last.stem, monitor=None, every_n_train_steps=every_n_steps, **common)
        )
    if has_val:
        callbacks.append(
            _MovableCheckpoint(
                filename=folder.best.stem, monitor=accuracy(VAL), mode="max", save_on_train_epoch_end=True, **common
            )
        )
    # Comes last, so that it also contains the state of the others.
    return [*callbacks, last]
