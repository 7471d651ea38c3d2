"""What the configs say about methods, so that no test keeps a list of names by hand."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.config_files import parsed_once

METHODS = sorted(path.stem for path in (CONF_DIR / "method").glob("*.yaml"))
SLOTS = ("criterion", "selector", "mixer", "regularizers", "gradient_transform", "teacher", "step", "phases")


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"), parsed_once():
        return OmegaConf.to_container(compose("train", overrides=list(overrides)))


def composed(*overrides: str) -> dict[str, Any]:
    """The config of ``alasca-train`` without ALASCA unless told, interpolations unresolved, without the method's constants."""
    return copy.deepcopy(_composed(("alasca=none", *overrides)))


def parts(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Nodes that fill a slot, by the path of the slot: ``selector``, ``regularizers.alasca``."""
    found = {}
    for slot in SLOTS:
        nodes = config[slot] or {}
        named = (
            {f"{slot}.{name}": node for name, node in nodes.items()}
            if slot in ("regularizers", "phases")
            else {slot: nodes}
        )
        found |= {path: node for path, node in named.items() if node}
    return found


def parts_of(method: str) -> dict[str, dict[str, Any]]:
    return parts(composed(f"method={method}"))


def networks_of(method: str) -> int:
    return composed(f"method={method}")["num_networks"]


def one_of_each_kind() -> list[str]:
    """The first method of those that fill the same slots, have the same step and the same number of networks.

    For what depends on these only, such as which parts of a run meet; formulas differ within a kind.
    """
    kinds: dict[Any, str] = {}
    for method in METHODS:
        filled = parts_of(method)
        slots = frozenset(path.partition(".")[0] for path in filled)
        kinds.setdefault((slots, filled["step"]["_target_"], networks_of(method)), method)
    return list(kinds.values())


def noise_rates() -> list[tuple[str, str]]:
    """Methods that need the noise rate, with the slot that does."""
    return [(method, slot) for method in METHODS for slot, node in parts_of(method).items() if "noise_rate" in node]
