"""Whether two configs describe the same experiment."""

from collections.abc import Mapping
from typing import Any

from alasca_pl.core.paths import path_names


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested config as one mapping with dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


# What may change when a run goes on, besides its paths: where it runs and what accompanies it. The number of epochs may,
# because any schedule that depends on it has a value of its own in the config, which may not.
_MAY_CHANGE = (
    "ckpt_path", "checkpoint", "callbacks", "logger", "report", "epochs", "trainer.max_epochs",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.benchmark",
    "data.download", "data.eval_batch_size", "data.num_workers", "data.check",
)  # fmt: skip


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare two configs as experiments.

    Returns:
        Dotted names of values that make them different experiments, with old and new value; None stands for absent.
    """
    one, other = _flatten(old), _flatten(new)
    may_change = (*_MAY_CHANGE, *path_names(new))
    return {
        name: (one.get(name), other.get(name))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
        and not any(name == free or name.startswith(f"{free}.") for free in may_change)
    }
