"""The command of the same run without ALASCA."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alasca_pl.core.experiment import identity
from alasca_pl.core.overrides import option_name

# From options to the config that they give; None if they give none.
Compose = Callable[[Sequence[str]], Mapping[str, Any] | None]

_OURS = "alasca_pl.alasca."


def uses_alasca(config: Mapping[str, Any]) -> bool:
    """Whether a resolved config has ALASCA or a variant of it, which ``alasca=none`` would leave out."""
    return bool(_ours(_penalties(config)))


def _penalties(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in (config.get("regularizers") or {}).items() if node}


def _ours(penalties: Mapping[str, Any]) -> set[str]:
    return {name for name, node in penalties.items() if str(node.get("_target_", "")).startswith(_OURS)}


def without_alasca(overrides: Sequence[str], config: Mapping[str, Any], compose: Compose) -> list[str]:
    """Options of the run without ALASCA that is the same otherwise.

    Args:
        overrides: Options of the run.
        config: Its resolved config.
        compose: Composes other options.
    """
    penalties = _penalties(config)
    ours = {"alasca"} | _ours(penalties)
    left_out = [("alasca",), ("ckpt_path",), *(("regularizers", name) for name in ours)]
    if not penalties.keys() - ours:
        # Auxiliary heads are there for ALASCA.
        left_out.append(("aux",))
    kept = [item for item in overrides if not any(_is_below(item, path) for path in left_out)]
    plain = [*kept, "alasca=none"]
    others = [item for item in kept if option_name(item) != "component"]
    if len(others) < len(kept):
        # A row of Table 4 keeps its name with alasca=none, and reports would show a run without ALASCA under it.
        row, same = compose([*others, "component=none"]), compose(plain)
        if row is not None and same is not None and identity(row) == identity(same):
            return [*others, "component=none"]
    return plain


def _is_below(override: str, path: tuple[str, ...]) -> bool:
    return tuple(option_name(override).split(".")[: len(path)]) == path
