"""Values by which runs are put into rows and columns."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import identity
from alasca_pl.core.metric_names import MetricName, accuracy
from alasca_pl.report.saved import PlannedRun, SavedRun
from alasca_pl.report.summary import HEADS

RULE = "rule"
SHORT = ("method", "alasca", "noise", "rate", "seed", "data", RULE)
ABSENT = "absent"

_SLOTS = (
    "criterion", "selector", "mixer", "regularizers", "gradient_transform", "teacher", "step", "phases", "num_networks",
    "constants", "published_network",
)  # fmt: skip
# Parts of the config that a choice fills. What differs there between two choices belongs to the choice.
_HOMES: dict[str, tuple[str, ...]] = {
    "method": _SLOTS,
    "alasca": ("regularizers", "aux"),
    "component": (*_SLOTS, "aux"),
    "noise": ("noise", "suggested.noise_rate"),
    "setting": ("noise", "suggested.noise_rate"),
    "rate": ("noise.rate", "suggested.noise_rate"),
    "data": ("data", "suggested", "noise.root", "noise.path"),
    "seed": ("seed",),
    "optim": ("optim", "suggested"),
    RULE: (),
}


def homes(keys: Iterable[str]) -> tuple[str, ...]:
    """Beginnings of the config's names that belong to some keys."""
    return tuple(dict.fromkeys(home for key in keys for home in _HOMES.get(key, (key,))))


def groups_of(keys: Iterable[str]) -> tuple[str, ...]:
    """Options of a command line that choose what belongs to some keys."""
    owned: dict[str, tuple[str, ...]] = {
        "noise": ("noise", "setting"),
        "rate": ("noise", "setting"),
        "setting": ("noise", "setting"),
    }
    owned |= dict.fromkeys(("method", "alasca", "component"), ("method", "alasca", "component"))
    return tuple(dict.fromkeys(group for key in keys for group in owned.get(key, (key,))))


def belongs(name: str, to: Sequence[str]) -> bool:
    """Whether a dotted name is one of these, or lies below one."""
    return any(name == home or name.startswith(f"{home}.") for home in to)


def value_of(run: SavedRun | PlannedRun, key: str) -> Any:
    """Value of a run for a key.

    Args:
        run: A run, or one that is planned.
        key: A short name (``method``, ``alasca``, ``noise``, ``rate``, ``seed``, ``data``), the name of a config group, or a
            dotted name of the config.

    Returns:
        The value; ``ABSENT`` if the config has no such name.
    """
    record = run.record if isinstance(run, SavedRun) else None
    config = record.config if record is not None else run.config  # type: ignore[union-attr]
    choices = record.choices if record is not None else run.choices  # type: ignore[union-attr]
    if key == "seed":
        return config.get("seed") if record is None else record.seed
    if key == "data":
        return choices.get("data") or (record.data.name if record else ABSENT)
    if key == "noise":
        chosen = choices.get("noise")
        return record.noise.kind if record and chosen in (None, "from_file") else chosen
    if key == "rate":
        rate = _look_up(config, "noise.rate")
        return record.noise.rate if record and rate is ABSENT else None if rate is ABSENT else rate
    if key in choices:
        return choices[key]
    return _look_up(config, key)


def is_plain_ce(run: SavedRun | PlannedRun) -> bool:
    """Whether a run is of cross-entropy alone, with which methods are compared."""
    return value_of(run, "method") == "ce" and value_of(run, "alasca") in (None, "none")


def check_key(runs: Sequence[SavedRun], key: str) -> None:
    """Refuse a key that no run has.

    Raises:
        UserError: With names that are close to it.
    """
    if key == RULE or any(value_of(run, key) is not ABSENT for run in runs):
        return
    known = {name for run in runs for name in (*identity(run.record.config), *run.record.choices, *SHORT)}
    close = difflib.get_close_matches(key, sorted(known), 5, 0.4) or sorted(SHORT)
    raise UserError(f"no run has a value for {key!r}; close to it are {', '.join(close)}")


def rules_of(run: SavedRun, metric: str) -> list[str]:
    """Rules of prediction by which a run's accuracy was measured."""
    its = MetricName.parse(metric)
    measured = run.record.metrics.get("last", {})
    return [rule for rule in HEADS if accuracy(its.group, rule) in measured]


def text_of(value: Any) -> str:
    """A value as it is printed."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def order_of(values: Sequence[Any]) -> tuple[tuple[int, float, str], ...]:
    """Key for sorting: the plain base first, numbers by size, the rest by name."""
    key = []
    for value in values:
        if value in ("none", "ce", "main", None):
            key.append((0, 0.0, ""))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            key.append((1, float(value), ""))
        else:
            key.append((2, 0.0, text_of(value)))
    return tuple(key)


def comparable(value: Any) -> str:
    """A value in a form that compares and hashes."""
    return json.dumps(value, sort_keys=True, default=str)


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return ABSENT
        node = node[name]
    return node
