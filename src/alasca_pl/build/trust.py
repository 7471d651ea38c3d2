"""What a config of unknown origin may call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra

from alasca_pl.core.errors import UserError

# A config names the classes that are called with its values; for a checkpoint of unknown origin only these are called.
_TRUSTED = tuple(
    f"{package}."
    for package in (
        "alasca_pl.alasca", "alasca_pl.data", "alasca_pl.methods", "alasca_pl.models", "alasca_pl.noise",
        "alasca_pl.steps", "torch.optim",
    )
)  # fmt: skip


def _is_trusted(target: str) -> bool:
    if not target.startswith(_TRUSTED):
        return False
    try:
        called = hydra.utils.get_object(target)
    except (ImportError, ValueError):
        return False
    # A dotted path may lead through a trusted module to what that module itself imported.
    return f"{getattr(called, '__module__', '')}.".startswith(_TRUSTED)


def refuse_foreign_targets(value: Any, path: Path) -> None:
    """Refuse a config that would call anything but classes of this package and optimisers.

    Args:
        value: The config, or a node of it.
        path: Where it is from, for the message.

    Raises:
        UserError: If it names a foreign ``_target_`` at any depth.
    """
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not _is_trusted(str(target)):
            raise UserError(
                f"the config in {path} would call {target}, which is not part of this package; if you know where the "
                "file comes from, allow it with trust=true"
            )
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            refuse_foreign_targets(item, path)
