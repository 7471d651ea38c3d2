"""Open checkpoints without executing code from them."""

import logging
from pathlib import Path
from typing import Any

import torch

from alasca_pl.core.checksum import check
from alasca_pl.core.errors import UserError
from alasca_pl.core.types import DataFacts

CHECKPOINT_KEY = "alasca_pl"

log = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint that this package wrote, onto the CPU.

    Args:
        path: The file.

    Raises:
        UserError: If the file does not exist, does not have its checksum, is damaged, or was not written by this package.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {path}; give ckpt_path=RUN/checkpoints/last.ckpt of an existing run")
    try:
        checkpoint, is_checked = _load(path)
    # Damaged files make the reader raise errors of many types.
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        whole = sorted(other.name for other in path.parent.glob("*.ckpt") if other != path and _is_whole(other))
        beside = f"; {' and '.join(whole)} in its folder can be read" if whole else ""
        raise UserError(f"checkpoint {path} is truncated, damaged or unsafe to load ({first_line}){beside}") from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of alasca_pl; give a file from a run's folder checkpoints/")
    if not is_checked:
        log.info("%s carries no checksum, so damage to it may go unnoticed", path)
    return checkpoint


def _load(path: Path) -> tuple[Any, bool]:
    """Return a file's content, and whether it has been compared with a checksum."""
    is_checked = check(path)
    return torch.load(path, map_location="cpu", weights_only=True), is_checked


def _is_whole(path: Path) -> bool:
    try:
        return CHECKPOINT_KEY in _load(path)[0]
    except Exception:
        return False


def facts_of(checkpoint: dict[str, Any]) -> DataFacts:
    """Return the facts that a checkpoint stores about the data it was trained on."""
    stored: dict[str, Any] = checkpoint[CHECKPOINT_KEY]["facts"]
    values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return DataFacts(**values)


def command_of(checkpoint: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the overrides and the options for folders of configs of the command that wrote a checkpoint.

    Raises:
        UserError: If they are no texts.
    """
    stored = checkpoint[CHECKPOINT_KEY].get("command", {})
    found = [stored.get(name, []) for name in ("overrides", "config_dirs")]
    if not all(isinstance(items, list) and all(isinstance(item, str) for item in items) for items in found):
        raise UserError("the checkpoint's overrides are damaged")
    return found[0], found[1]


def pack(
    config: dict[str, Any],
    facts: DataFacts,
    command: dict[str, list[str]] | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Return config, facts, the command's options and the precision in use as plain containers for a checkpoint."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in facts._asdict().items()}
    return {"config": config, "facts": plain, "command": command or {}, "precision": precision}
