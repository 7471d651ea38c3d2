"""Checks that need neither data nor torch, so that a wrong value is reported at once."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alasca_pl.build.make import make_part
from alasca_pl.build.schema import check_complete, check_values
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import absolute_paths
from alasca_pl.noise.model import NoiseModel

# Each is set by a way to start processes on several machines.
_CLUSTER = ("MASTER_ADDR", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
# A word, a number or a list of numbers, as Lightning reads them.
_DEVICES = re.compile(r"auto|-1|\d+|\d+(\s*,\s*\d+)*,?")


def check_early(config: Mapping[str, Any]) -> None:
    """Check what can be checked before libraries are loaded, on any machine.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong; the message says what and how to go on.
    """
    check_values(config)
    check_complete(config)
    _check_epochs(config)
    # Noise models know nothing of torch; those that read a file look for it.
    make_part("noise", NoiseModel, absolute_paths(config["noise"]))


def _check_epochs(config: Mapping[str, Any]) -> None:
    trainer, epochs = config["trainer"], config["epochs"]
    # A run of a few batches per epoch is a test, which may also end early.
    if trainer.get("max_epochs") != epochs and trainer.get("limit_train_batches") is None:
        raise UserError(
            f"trainer.max_epochs={trainer.get('max_epochs')} and epochs={epochs}: schedules follow epochs, so training would "
            "end elsewhere; give epochs only"
        )


def check_devices(config: Mapping[str, Any]) -> None:
    """Check that this machine has what the run is to train on.

    Raises:
        UserError: If it surely has not.
    """
    if config["trainer"].get("accelerator") in ("gpu", "cuda") and not has_gpu():
        raise UserError("trainer asks for a GPU, but this machine has none; choose trainer=cpu")
    devices = config["trainer"].get("devices")
    if isinstance(devices, str) and not _DEVICES.fullmatch(devices):
        raise UserError(f"trainer.devices={devices}: give their number, a list as [0,1], or auto")
    nodes = config["trainer"].get("num_nodes") or 1
    if nodes > 1 and not any(name in os.environ for name in _CLUSTER):
        raise UserError(
            f"trainer.num_nodes={nodes}, but this process was not started by a cluster and would wait for the others for ever; "
            "start it with srun or torchrun, or set MASTER_ADDR and NODE_RANK on each node"
        )


def has_gpu() -> bool:
    """Whether there may be a GPU: only a machine that surely has none is refused."""
    if platform.system() != "Linux":
        return True
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri"))
