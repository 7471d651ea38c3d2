"""Checks that need neither data nor torch, so that a wrong value is reported at once."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alasca_pl.build.make import make
from alasca_pl.build.schema import check_values
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import absolute_paths


def check_early(config: Mapping[str, Any]) -> None:
    """Check what can be checked before libraries are loaded, on any machine.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong; the message says what and how to go on.
    """
    check_values(config)
    # Noise models know nothing of torch; those that read a file look for it.
    make(absolute_paths(config["noise"]))


def check_devices(config: Mapping[str, Any]) -> None:
    """Check that this machine has what the run is to train on.

    Raises:
        UserError: If it surely has not.
    """
    if config["trainer"].get("accelerator") in ("gpu", "cuda") and not has_gpu():
        raise UserError("trainer asks for a GPU, but this machine has none; choose trainer=cpu")


def has_gpu() -> bool:
    """Whether there may be a GPU: only a machine that surely has none is refused."""
    if platform.system() != "Linux":
        return True
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri"))
