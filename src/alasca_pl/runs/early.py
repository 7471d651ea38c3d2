"""Checks that need neither data nor torch, so that a wrong value is reported at once."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alasca_pl.build.make import make
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import absolute_paths


def check_early(config: Mapping[str, Any]) -> None:
    """Check what can be checked before libraries are loaded.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong; the message says what and how to go on.
    """
    for name, least in (("epochs", 1), ("seed", 0)):
        value = config[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}")
    threads = config.get("threads", "auto")
    if threads != "auto" and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UserError(f"threads must be auto or a whole number of at least 1, got {threads!r}")
    if config["trainer"].get("accelerator") in ("gpu", "cuda") and not _has_gpu():
        raise UserError("trainer asks for a GPU, but this machine has none; choose trainer=cpu")
    # Noise models know nothing of torch, and check their own values.
    make(absolute_paths(config["noise"]))


def _has_gpu() -> bool:
    """Whether there may be a GPU: only a machine that surely has none is refused."""
    if platform.system() != "Linux":
        return True
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri"))
