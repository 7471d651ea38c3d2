"""From a resolved config to data."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from alasca_pl.build.make import Config, make
from alasca_pl.build.schema import DATA_FOR_OTHERS, oracle_slots
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import MARKER
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.prepared import PreparedData

_PREPARED = {"_target_": f"{PreparedData.__module__}.{PreparedData.__qualname__}"}


def build_data(config: Config) -> NoisyDataModule:
    """Read the data, split it, draw the noise, and make the data module.

    The group ``data`` is one flat mapping. Each value is passed to the callable that has an argument of its name:
    ``PreparedData``, the data module that ``_target_`` names, or the reader. Values of None that match no argument are
    ignored, so that the yaml of one data set can build on that of another.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong or matches no argument, or the data cannot be used.
    """
    node = {name: value for name, value in config["data"].items() if name not in (*DATA_FOR_OTHERS, "reader", MARKER)}
    shell = {"_target_": node.pop("_target_")}
    prepared_takes = _arguments(_PREPARED, "reader", "noise", "plant", "fold")
    shell_takes = _arguments(shell, "prepared", "seed")
    rest = {name: value for name, value in node.items() if name not in prepared_takes | shell_takes}
    reader = _maker(config["data"]["reader"], **rest)
    reader_takes = set(inspect.signature(reader.func).parameters)
    unknown = [name for name, value in rest.items() if name not in reader_takes and value is not None]
    if unknown:
        known = sorted(prepared_takes | shell_takes | reader_takes)
        raise UserError(f"group data has no option {', '.join(unknown)}; it takes {', '.join(known)}")
    # Configs that were recorded before there was the first option have none; only runs on folds have the second one.
    audit = {name: value for name, value in config.get("audit", {}).items() if name in ("plant", "fold")}
    prepared = make(_PREPARED | _chosen(node, prepared_takes), reader=reader, noise=make(config["noise"]), **audit)
    if "criterion" in oracle_slots(config):
        prepared.tell_matrix()
    return make(shell | _chosen(node, shell_takes), prepared=prepared, seed=config["seed"])


def _maker(node: Mapping[str, Any], **offers: Any) -> functools.partial:
    return make({**node, "_partial_": True}, **offers)


def _arguments(node: Mapping[str, Any], *without: str) -> set[str]:
    return set(inspect.signature(_maker(node).func).parameters) - set(without)


def _chosen(node: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name in names}
