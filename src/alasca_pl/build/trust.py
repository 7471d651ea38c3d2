"""What a config of unknown origin may call."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

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


def refuse_foreign_overrides(overrides: Sequence[str], path: Path) -> None:
    """Refuse options of a command that would call, or might make a config that calls, anything foreign.

    Args:
        overrides: Overrides in Hydra's grammar.
        path: Where they are from, for the message.

    Raises:
        UserError: If one does.
    """
    for item in overrides:
        name, _, text = item.partition("=")
        name = name.lstrip("+~")
        try:
            value: Any = _plain(OverridesParser.create().parse_override(item).value())
        except HydraException:
            value = None
        # Resolvers make configs from text, options of Hydra's own call classes, and groups might be files elsewhere.
        if (
            (value is None and text not in ("null", ""))
            or name.startswith("hydra")
            or ".." in text
            or re.search(r"\$\{[^}]*:", text)
        ):
            raise UserError(
                f"{path} would set the option {item}; if you know where the file comes from, allow it with trust=true"
            )
        for word in reversed(name.split(".")):
            value = {word: value}
        refuse_foreign_targets(value, path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value
