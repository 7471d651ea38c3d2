"""Open checkpoints without executing code from them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from alasca_pl.core.checksum import check
from alasca_pl.core.errors import UserError
from alasca_pl.core.run_folder import find_checkpoint
from alasca_pl.core.types import DataFacts

CHECKPOINT_KEY = "alasca_pl"
# Where a module's state has weights; tables of parts may use NaN or infinity for what they have not seen.
_WEIGHTS = ("method.networks.", "method.teachers.")

log = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint that this package wrote, onto the CPU.

    Args:
        path: The file.

    Raises:
        UserError: If the file does not exist, does not have its checksum, is damaged, or was not written by this package.
    """
    path = find_checkpoint(path)
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
    try:
        _check_content(checkpoint)
    except ValueError as error:
        raise UserError(f"checkpoint {path} was edited or damaged: {error}") from error
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


def _check_content(checkpoint: dict[str, Any]) -> None:
    """Raise ``ValueError`` unless a checkpoint tells its config and what is known of its data."""
    content = checkpoint[CHECKPOINT_KEY]
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError("it has no config")
    if not isinstance(content.get("facts"), dict):
        raise ValueError("it tells nothing of its data")
    try:
        facts = facts_of(checkpoint)
    except TypeError as error:
        raise ValueError(f"what it tells of its data is incomplete: {error}") from error
    for name, kind in get_type_hints(DataFacts).items():
        value = getattr(facts, name)
        if not any(_fits(value, option) for option in get_args(kind) or (kind,)) and not _fits(value, kind):
            raise ValueError(f"facts.{name} is {value!r}")
    if facts.num_classes < 2 or facts.num_samples < 1 or len(facts.class_names) != facts.num_classes:
        raise ValueError(f"it tells of {facts.num_classes} classes with {len(facts.class_names)} names")
    if len(facts.grey_range) not in (0, 2) or list(facts.grey_range) != sorted(set(facts.grey_range)):
        raise ValueError(f"facts.grey_range is {facts.grey_range!r}")
    if not len(facts.mean) == len(facts.std) == facts.image_shape[0] or min(facts.image_shape) < 1:
        raise ValueError(f"it tells of images of shape {facts.image_shape} with {len(facts.mean)} channels")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has a type of ``DataFacts``."""
    if get_origin(kind) is tuple:
        inner = [one for one in get_args(kind) if one is not ...]
        is_long = len(inner) == 1 or (isinstance(value, tuple) and len(value) == len(inner))
        return isinstance(value, tuple) and is_long and all(_fits(item, inner[0]) for item in value)
    if isinstance(value, bool) or not isinstance(kind, type):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def not_finite(state: Mapping[str, Any]) -> str | None:
    """Return the name of a tensor of the networks or teachers in a module's state that is not finite, or None.

    Example:
        >>> not_finite({"method.networks.0.weight": torch.tensor([1.0, float("nan")])})
        'method.networks.0.weight'
    """
    weights = {
        name: value
        for name, value in state.items()
        if name.startswith(_WEIGHTS) and isinstance(value, Tensor) and value.is_floating_point()
    }
    # Together, so that an accelerator is waited for once.
    flags = torch.stack([value.isfinite().all() for value in weights.values()]).tolist() if weights else []
    return next((name for name, is_finite in zip(weights, flags) if not is_finite), None)


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


def run_ids_of(checkpoint: dict[str, Any]) -> dict[str, str]:
    """Return the ids of the run in the services of its loggers, by the loggers' names in the config.

    Raises:
        UserError: If they are no texts.
    """
    ids = checkpoint[CHECKPOINT_KEY].get("run_ids", {})
    if not isinstance(ids, dict) or not all(isinstance(each, str) for each in (*ids, *ids.values())):
        raise UserError(f"the checkpoint was edited or damaged: run_ids is {ids!r}")
    return ids


def pack(
    config: dict[str, Any],
    facts: DataFacts,
    command: dict[str, list[str]] | None = None,
    precision: str | None = None,
    run_ids: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return config, facts, the command's options, the precision in use and the ids of the run in the services of its loggers
    as plain containers for a checkpoint.
    """
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in facts._asdict().items()}
    return {
        "config": config,
        "facts": plain,
        "command": command or {},
        "precision": precision,
        "run_ids": run_ids or {},
    }
