"""Memory that a training step needs: its state, and what the forward pass keeps for the backward pass."""

import contextlib
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from alasca_pl.core.sample_buffer import SampleBuffer


class StepMemory(L.Callback):
    """Counts bytes of the first step of a run; on a GPU takes the allocator's peak instead.

    The sum is that of parameters, their gradients, buffers, tables with a row per sample, the optimiser's state, and of all
    tensors that autograd keeps between forward and backward pass, each storage once. It does not depend on the allocator or on
    what the process did before.

    Attributes:
        bytes: The sum, after the first step.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._kept: dict[int, int] = {}
        self._state: dict[int, int] = {}
        self._hooks: contextlib.ExitStack | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.bytes is not None:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        else:
            tables = [part.rows for part in pl_module.modules() if isinstance(part, SampleBuffer)]
            self._state = _storages([*pl_module.parameters(), *pl_module.buffers(), *tables])
            self._hooks = contextlib.ExitStack()
            self._hooks.enter_context(saved_tensors_hooks(self._note, lambda tensor: tensor))

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        if self._hooks is not None:
            self._hooks.close()
            self._hooks = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bytes is not None:
            return
        if pl_module.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(pl_module.device)
            return
        trained = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        gradients = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        states = _storages(
            value for one in trainer.optimizers for state in one.state.values() for value in state.values()
        )
        # Told apart before the backward pass, which frees what was kept: the optimiser's first state may take its addresses.
        kept = {address: size for address, size in self._kept.items() if address not in self._state}
        self.bytes = sum(sum(each.values()) for each in (self._state, kept, states)) + gradients
        self._kept = {}

    def _note(self, tensor: Tensor) -> Tensor:
        self._kept |= _storages([tensor])
        return tensor


def _storages(tensors: Iterable[Any]) -> dict[int, int]:
    """Sizes of the storages behind tensors by their addresses."""
    storages = [each.untyped_storage() for each in tensors if isinstance(each, Tensor)]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
