"""Checks that several processes train one run: the same data and noise, separate random states."""

import hashlib
import json
import random
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

from alasca_pl.core.distributed import rank, world_size
from alasca_pl.core.errors import UserError
from alasca_pl.core.seeds import derive_seed


class ParallelGuard(L.Callback):
    """Stops before the first step if there are fewer processes than configured, or if they differ in data or noise.

    Args:
        identity: What must be equal on all ranks, as plain containers.
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        self._identity = identity

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        want, have = trainer.num_devices * trainer.num_nodes, world_size()
        if want != have:
            raise UserError(
                f"trainer.devices asks for {want} processes, but {have} run; "
                "check the variables set by a cluster's scheduler, e.g. SLURM_NTASKS"
            )
        if have == 1:
            return
        mine = {name: _digest(value) for name, value in self._identity.items()}
        everyone: list[dict[str, str]] = [{} for _ in range(have)]
        dist.all_gather_object(everyone, mine)
        different = [name for name in mine if len({other[name] for other in everyone}) > 1]
        if different:
            raise UserError(
                f"the processes do not agree on {', '.join(different)}; under torchrun give hydra.run.dir explicitly, "
                "e.g. 'hydra.run.dir=runs/${oc.env:TORCHELASTIC_RUN_ID}'"
            )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class RankRng(L.Callback):
    """Gives each rank its own random stream and restores all of them on resume.

    What must be equal on all ranks (split, noise, initial weights, order, augmentation) has its own generators; this
    callback is for draws inside a network, such as dropout. Must come after every callback that draws in
    ``on_fit_start``.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._saved: list[dict[str, Any]] | None = None
        self._device = torch.device("cpu")

    def state_dict(self) -> dict[str, Any]:
        # Called on every rank while a checkpoint is made, so that a collective is allowed.
        mine = _get_rng(self._device)
        if world_size() == 1:
            return {"ranks": [mine]}
        everyone: list[dict[str, Any]] = [{} for _ in range(world_size())]
        dist.all_gather_object(everyone, mine)
        return {"ranks": everyone}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict["ranks"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._device = pl_module.device
        # Later hooks are too late: the training iterator draws from these streams before them.
        if self._saved is not None and len(self._saved) == world_size():
            _set_rng(self._saved[rank()], self._device)
        else:
            L.seed_everything(derive_seed(self._seed, "rank", rank()) % 2**32, verbose=False)
        self._saved = None


def _get_rng(device: torch.device) -> dict[str, Any]:
    # Plain containers and tensors only: checkpoints must load without executing anything.
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": random.getstate(),
    }


def _set_rng(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    random.setstate(state["python"])
