"""Names, types and ranges of a config's values, checked without data and before any library is loaded.

Values of the groups that are always there have rules, see ``rules``. What a node with ``_target_`` takes is read from the
signature of its class and from the checks at the beginning of its constructor, see ``signatures`` and ``guards``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from alasca_pl.build.guards import refusal
from alasca_pl.build.own_files import own_problem
from alasca_pl.build.rules import OPTIMIZER_RULES, RULES
from alasca_pl.build.signatures import Function, describe, fits, shown, signature, words_of
from alasca_pl.build.sources import located
from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.core.paths import MARKER

_TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
_GROUPS = (
    "suggested", "optim", "model", "aux", "predict", "checkpoint", "early_end", "report", "audit", "trainer", "data",
)  # fmt: skip
# Nodes with _target_ by name, and whether there may be none.
_NODES = {
    "noise": False,
    "model.backbone": False,
    "criterion": False,
    "step": False,
    "optim.optimizer": False,
    "optim.scheduler": True,
    "selector": True,
    "mixer": True,
    "gradient_transform": True,
    "teacher": True,
}
_NODES_BY_NAME = ("regularizers", "phases", "callbacks", "logger")
# Arguments that nodes are given by whoever makes them; only two are known before the data.
_OFFERED = (
    "num_samples",
    "num_classes",
    "class_counts",
    "num_networks",
    "seed",
    "in_channels",
    "network",
    "save_dir",
    "config",
)
_KNOWN_OFFERS = ("num_networks", "seed")
_TOP_LEVEL = ("constants", "data", "noise", "hydra")
_PREPARED = "alasca_pl.data.prepared.PreparedData"
# Values of group data that other groups refer to by interpolation.
DATA_FOR_OTHERS = ("class_map", "class_groups")
# What a slot may be told of the true labels, by the word below.
_TOLD = {"criterion": "matrix", "selector": "noise_rate", "gradient_transform": "noise_rate"}
ORACLE = "oracle"
_OWN = "alasca_pl."
# Their signatures are read from source as ours are, without importing them.
_OPTIMIZERS = "torch.optim."
_READ = (_OWN, _OPTIMIZERS)
_INSTALLED = (*_READ, "lightning.")
_TARGET = re.compile(r'"_target_": "([^"]*)')
# Values with a rule that a config need not have.
_OPTIONAL = ("threads", "ckpt_path", "published_network", "audit.fold")
# Texts of configs without a problem. Sources of what is installed, and so the answer, stay what they are within a process.
_right: set[str] = set()
_REMEMBERED = 1000
# From this likeness on, a name that nobody knows is taken for a slip.
_SLIP = 0.8


def check_values(config: Mapping[str, Any]) -> None:
    """Check names, types and ranges of the values of a config.

    Args:
        config: Resolved config as plain containers, or some of its groups.

    Raises:
        UserError: If a value is wrong; the message names the first one, what it may be, and names that are close.

    Example:
        >>> check_values({"epochs": 3})
        >>> check_values({"epochs": "abc"})
        Traceback (most recent call last):
        alasca_pl.core.errors.UserError: epochs must be a whole number of at least 1, got 'abc'
    """
    # A command checks its config again wherever it may have come from somewhere else.
    text = json.dumps(config, default=repr)
    if text in _right:
        return
    problem = next(_problems(config), None)
    if problem is not None:
        raise UserError(problem)
    # Files of one's own may change.
    if len(_right) < _REMEMBERED and all(target.startswith(_INSTALLED) for target in _TARGET.findall(text)):
        _right.add(text)


def check_complete(config: Mapping[str, Any]) -> None:
    """Check that nothing was removed that each run needs.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a group, a node or a value is missing.
    """
    ruled = [
        name if group is None else f"{group}.{name}"
        for group, rules in RULES.items()
        for name in rules
        # What a trainer and an optimizer take differs; Lightning and their signatures have defaults.
        if group not in ("trainer", "optim", "suggested")
    ]
    for name in (*_GROUPS, *_NODES_BY_NAME, *_NODES, *ruled):
        group, _, last = name.rpartition(".")
        inside = config.get(group) if group else config
        if name not in _OPTIONAL and isinstance(inside, Mapping) and last not in inside:
            raise UserError(f"{name} is missing; each run needs it, so give it a value instead of removing it")


def oracle_slots(config: Mapping[str, Any]) -> list[str]:
    """Names of the slots that are told the truth by ``noise_rate: oracle`` or, the criterion, by ``matrix: oracle``."""
    return [slot for slot, name in _TOLD.items() if (config.get(slot) or {}).get(name) == ORACLE]


def allowed(path: str, config: Mapping[str, Any]) -> str | None:
    """Say in words what a value of a config may be.

    Args:
        path: Dotted name of the value.
        config: Config with the nodes around it; the classes that their ``_target_`` names are only read.

    Returns:
        The words that a refusal would use, or None where nothing is known.

    Example:
        >>> allowed("data.padding", {"data": {"_target_": "alasca_pl.data.datamodule.NoisyDataModule"}})
        'a whole number or null'
        >>> allowed("early_end.patience", {})
        'a whole number of at least 1 or null'
    """
    group, _, name = path.rpartition(".")
    rule = RULES.get(group or None, {}).get(name)
    if rule is not None:
        return rule.said
    node: Any = config
    for word in group.split(".") if group else ():
        node = node.get(word) if isinstance(node, Mapping) else None
    node = node if isinstance(node, Mapping) else {}
    targets = [_TRAINER] if group == "trainer" else [node.get("_target_")]
    if group == "data":
        targets += [_PREPARED, (node.get("reader") or {}).get("_target_")]
    for target in targets:
        function = signature(target) if isinstance(target, str) else None
        if function is not None and function.arguments.get(name) is not None:
            return describe(function.arguments[name], function.module)
    return None


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    for name in (*_GROUPS, *_NODES_BY_NAME):
        if name in config and not isinstance(config[name], Mapping):
            yield f"{name} must be a mapping, got {config[name]!r}; leave it out to keep the default"
    for group, rules in RULES.items():
        node = config if group is None else config.get(group) or {}
        for name, rule in rules.items():
            problem = rule.problem(name if group is None else f"{group}.{name}", node[name]) if name in node else None
            if problem:
                yield problem
    yield from _unknown_names(config)
    offers = {name: config[name] for name in _KNOWN_OFFERS if name in config}
    if "trainer" in config:
        trainer = signature(_TRAINER)
        if trainer is not None:
            # Where precision may also be auto, it has a rule.
            passed_on = {name: value for name, value in config["trainer"].items() if name != "precision"}
            yield from _arguments("trainer", "Lightning's Trainer", passed_on, trainer, {}, partial=True)
    if "data" in config:
        yield from _data(config["data"], offers)
    for name, may_be_null in _NODES.items():
        group, _, last = name.rpartition(".")
        inside = config.get(group) if group else config
        if inside is not None and last in inside:
            yield from _slot(name, inside[last], may_be_null, offers)
    for group in _NODES_BY_NAME:
        for name, node in (config.get(group) or {}).items():
            yield from _slot(f"{group}.{name}", node, True, offers)


def _unknown_names(config: Mapping[str, Any]) -> Iterator[str]:
    top = {name.split(".")[0] for name in (*_NODES, *_NODES_BY_NAME, *_GROUPS, *_TOP_LEVEL, *RULES[None])}
    # A name that is close to one of ours is a slip; others are a user's own, to which other values may refer.
    for name in config:
        near = "" if name in top else did_you_mean(name, top, _SLIP)
        if near:
            yield f"there is no option {name}{near}"
    for group in _GROUPS:
        if group in ("trainer", "data"):
            continue
        known = {*RULES[group], *(name.split(".")[1] for name in _NODES if name.startswith(f"{group}."))}
        for name in config.get(group) or {}:
            near = "" if name in known else did_you_mean(name, known, _SLIP)
            if near:
                yield f"{group} has no option {name}{near}; it takes {', '.join(sorted(known))}"


def _slot(path: str, node: Any, may_be_null: bool, offers: Mapping[str, Any]) -> Iterator[str]:
    if node is None and path == "criterion":
        yield (
            "no criterion is chosen; choose a method, e.g. method=ce. A method of your own that fills other slots sets it, too: "
            "criterion: {_target_: alasca_pl.methods.cross_entropy.CrossEntropy}"
        )
    elif node is None and may_be_null:
        return
    elif not isinstance(node, Mapping) or "_target_" not in node:
        yield f"{path} must be a node with _target_{' or null' if may_be_null else ''}, got {node!r}"
    else:
        told = _TOLD.get(path)
        yield from _node(path, {name: value for name, value in node.items() if (name, value) != (told, ORACLE)}, offers)


def _node(path: str, node: Mapping[str, Any], offers: Mapping[str, Any]) -> Iterator[str]:
    """Problems of a node with ``_target_`` and of the nodes within it."""
    values = {name: value for name, value in node.items() if name not in ("_target_", "_partial_", MARKER)}
    for name, value in values.items():
        yield from _nested(f"{path}.{name}", value, offers)
    target = node["_target_"]
    if not isinstance(target, str):
        yield f"{path}._target_ must be the dotted name of a class or function, got {shown(target)}"
        return
    problem = _target_problem(target)
    function = _read(target) if problem is None else None
    if problem is not None:
        yield f"{path}: {problem}"
    if function is None:
        return
    if target.startswith(_OPTIMIZERS):
        for name in (one for one in values if one in OPTIMIZER_RULES and one in function.arguments):
            problem = OPTIMIZER_RULES[name].problem(f"{path}.{name}", values[name])
            if problem:
                yield problem
    yield from _arguments(path, target, values, function, offers, partial=bool(node.get("_partial_")))


def _nested(path: str, value: Any, offers: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield from _node(path, value, offers)
        else:
            for name, item in value.items():
                yield from _nested(f"{path}.{name}", item, offers)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _nested(f"{path}[{number}]", item, offers)


def _read(target: str) -> Function | None:
    """What a ``_target_`` calls, if it is of this package, of torch's optimizers, or the user's own."""
    found = None if target.startswith(_READ) else located(target)
    return signature(target) if target.startswith(_READ) or (found is not None and found[0].is_own) else None


def _target_problem(target: str) -> str | None:
    """Why there is nothing of a name of ours or the user's, or None."""
    if not target.startswith(_READ):
        return own_problem(target)
    found = located(target)
    known = {**found[0].names, **found[0].imports} if found is not None else {}
    near = did_you_mean(target.rpartition(".")[2], known)
    return None if found is not None and found[1] in known else f"there is no _target_ {target!r}{near}"


def _arguments(
    path: str,
    target: str,
    values: Mapping[str, Any],
    function: Function,
    offers: Mapping[str, Any],
    partial: bool = False,
) -> Iterator[str]:
    """Problems of the values that a function is called with."""
    arguments = function.arguments
    for name, value in values.items():
        if name not in arguments:
            if not function.takes_any:
                near = did_you_mean(name, arguments)
                yield f"{path}: {target} has no argument {name}{near}; it takes {', '.join(arguments) or 'none'}"
        elif not fits(value, arguments[name], function.module):
            wanted = describe(arguments[name], function.module)
            near = did_you_mean(value, words_of(arguments[name], function.module))
            yield f"{path}.{name} must be {wanted}, got {shown(value)}{near}"
    if not partial:
        missing = [one for one in arguments if one not in (*values, *function.defaults, *_OFFERED)]
        if missing:
            yield f"{path}: {target} needs {', '.join(missing)}"
    known = {name: value for name, value in offers.items() if name in arguments} | dict(values)
    message = refusal(function, known, unknown=_OFFERED)
    if message is not None:
        yield message if f"{path}." in message else f"{path}: {message}"


def _data(data: Mapping[str, Any], offers: Mapping[str, Any]) -> Iterator[str]:
    """Problems of group data, whose values reach whoever has an argument of their name; see ``build.data``."""
    reader = data.get("reader")
    for name, value in (("data", data), ("data.reader", reader)):
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            yield f"{name} must be a node with _target_, got {value!r}"
            return
        problem = _target_problem(value["_target_"])
        if problem is not None:
            yield f"{name}: {problem}"
            return
    assert isinstance(reader, Mapping)
    node = {name: value for name, value in data.items() if name not in (*DATA_FOR_OTHERS, "_target_", "reader", MARKER)}
    known: set[str] = set()
    unread = False
    own = {name: value for name, value in reader.items() if name not in ("_target_", MARKER)}
    for path, target, given, without in (
        ("data", _PREPARED, {}, ("reader", "noise", "plant")),
        ("data", data["_target_"], {}, ("prepared", "seed")),
        ("data.reader", reader["_target_"], own, known),
    ):
        function = _read(target)
        if function is None:
            unread = True
            continue
        takes = set(function.arguments) - set(without)
        rest = {name: value for name, value in node.items() if name in takes and name not in given}
        yield from _arguments(path, target, {**rest, **given}, function, {}, partial=True)
        known |= takes
    unknown = [name for name, value in node.items() if name not in known and value is not None]
    if unknown and not unread:
        near = did_you_mean(unknown[0], known)
        yield f"group data has no option {', '.join(unknown)}{near}; it takes {', '.join(sorted(known))}"
    yield from _nested("data.augment", data.get("augment"), offers)
