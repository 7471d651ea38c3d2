"""Whether two configs describe the same experiment."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from alasca_pl.core.paths import MARKER, absolute_paths, path_names


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested config as one mapping with dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


# What may change when a run is continued, besides its paths: hardware, logging and callbacks. The number of epochs may
# change too, because any schedule that depends on it has its own value in the config, which may not change.
_MAY_CHANGE = (
    "ckpt_path", "checkpoint", "callbacks", "logger", "report", "epochs", "early_end", "trainer.max_epochs",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.benchmark", "threads",
    "data.download", "data.eval_batch_size", "data.num_workers", "data.check",
)  # fmt: skip


def differing_keys(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Compare two configs as experiments.

    Args:
        old: Resolved config of the first.
        new: Resolved config of the second.
        defaults: What the overrides of the first give today. Options that it lacks, because they were added later, are
            taken from here.

    Returns:
        Dotted names of values that make them different experiments, with old and new value; None means absent.
    """
    one, other = _flatten(old), _flatten(new)
    today = {} if defaults is None else _flatten(defaults)
    one = {**{name: today[name] for name in today if name not in one}, **one}
    may_change = (*_MAY_CHANGE, *path_names(new))
    return {
        name: (one.get(name), other.get(name))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
        and not any(name == free or name.startswith(f"{free}.") for free in may_change)
    }


# What cannot change the result of a whole run. Devices and nodes are not among them: with another number of processes results
# differ by rounding, and by draws that differ between ranks.
_WITHOUT_EFFECT = (
    "data.extract_to",
    *(
        name
        for name in _MAY_CHANGE
        if name not in ("epochs", "early_end", "trainer.max_epochs", "trainer.devices", "trainer.num_nodes")
    ),
)


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a resolved config to what can change the result, in a form that can be compared.

    Files and folders are compared by their last component only, so that data may be moved. A folder named ``root`` is
    not compared at all if the data set declares its size, which is checked when it is read.

    Args:
        config: Resolved config as plain containers.

    Returns:
        Values by dotted names. Whole numbers are integers, however they were written.

    Example:
        >>> identity({"seed": 1.0, "data": {"path": "/a/own.npz", "num_workers": 4, "_paths_": ["path"]}})
        {'data.path': 'own.npz', 'seed': 1}
    """
    flat, lying = _flatten(config), _flatten(absolute_paths(config))
    paths = path_names(config)
    declared = flat.get("data.num_samples") is not None
    kept: dict[str, Any] = {}
    for name, value in sorted(flat.items()):
        last = name.rpartition(".")[2]
        if last == MARKER or (name in paths and last == "root" and declared):
            continue
        if any(name == free or name.startswith(f"{free}.") for free in _WITHOUT_EFFECT):
            continue
        is_path = name in paths and isinstance(value, str) and PurePath(lying[name]).is_absolute()
        kept[name] = PurePath(value).name if is_path else _plain(value)
    return kept


def places(config: Mapping[str, Any]) -> dict[str, str]:
    """Paths of data in a config, by dotted names, for which ``identity`` compares their names only."""
    lying, counted = _flatten(absolute_paths(config)), identity(config)
    return {
        name: lying[name]
        for name in sorted(path_names(config))
        if name in counted and isinstance(lying.get(name), str) and PurePath(lying[name]).is_absolute()
    }


def job_digest(config: Mapping[str, Any]) -> str:
    """Name a job by what can change its result: 12 hexadecimal digits.

    Example:
        >>> job_digest({"seed": 1, "logger": {}}) == job_digest({"seed": 1.0, "logger": {"csv": None}})
        True
    """
    text = json.dumps(identity(config), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def same_job(recorded: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> bool:
    """Whether a recorded job is the wanted one, even if options were added since.

    Args:
        recorded: Resolved config of the recorded job.
        wanted: Resolved config of the wanted job.
        defaults: What the recorded job's overrides give today. Options that the record lacks are taken from here, so
            that an option that was added later counts with its default.
    """
    old, new = identity(recorded), identity(wanted)
    today = identity(defaults) if defaults is not None else {}
    return {**{name: today[name] for name in today if name not in old}, **old} == new


def _plain(value: Any) -> Any:
    """Give equal values one form: lists for sequences, integers for whole numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
