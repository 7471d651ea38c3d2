"""From a node of a config to an object."""

import functools
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar

from alasca_pl.build.own_files import place_in_own
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import MARKER

Config = dict[str, Any]
_Part = TypeVar("_Part")


def make(node: Mapping[str, Any], **offers: Any) -> Any:
    """Call a node's ``_target_`` with the node's values.

    Args:
        node: A mapping with ``_target_``.
        offers: Values that are passed on if the target has an argument of that name and the node does not give it. A
            part thus gets ``num_samples`` or ``num_classes`` by naming it as an argument, and its yaml need not repeat
            them. Nested nodes, e.g. the terms of a composite loss, are offered the same values.

    Raises:
        UserError: If the target does not exist or rejects its values.
    """
    # Hydra's own instantiate copies arguments into a config and turns dataclasses into mappings; data and networks must
    # arrive as they are.
    name = node["_target_"]
    target = find_target(name)
    arguments = {
        key: _value(value, offers) for key, value in node.items() if key not in ("_target_", "_partial_", MARKER)
    }
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError) as error:
        raise UserError(f"_target_ {name!r} cannot be called with values by name: {error}") from error
    arguments |= {key: value for key, value in offers.items() if key in parameters and key not in arguments}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [key for key in arguments if key not in parameters and not takes_any]
    if unknown:
        raise UserError(f"{name} has no argument {', '.join(unknown)}; it takes {', '.join(parameters)}")
    if node.get("_partial_"):
        return functools.partial(target, **arguments)
    try:
        return target(**arguments)
    except ImportError as error:
        # Of a library that the target imports when it is called, as loggers do.
        raise UserError(f"{name} needs a library that is not installed: {' '.join(str(error).split())}") from error
    except (ValueError, OSError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error
    except Exception as error:
        place = place_in_own(error)
        if place:
            raise UserError(f"{name}: {place}: {_said(error)}") from error
        if not isinstance(error, TypeError | AttributeError):
            raise
        plain = {key: value for key, value in node.items() if not isinstance(value, Mapping)}
        raise UserError(f"{name} refuses its arguments {plain}: {error}") from error


def make_part(slot: str, contract: type[_Part], node: Mapping[str, Any], **offers: Any) -> _Part:
    """Call a node as ``make`` does, and check that the slot of its name can use what it gives.

    Args:
        slot: Name of the slot, for the message.
        contract: Class that whatever fills the slot follows.
        node: See ``make``.
        offers: See ``make``.

    Raises:
        UserError: If it gives anything else.
    """
    made = make(node, **offers)
    if not isinstance(made, contract):
        raise UserError(
            f"{slot}: {node['_target_']} gives no {contract.__name__}, which the slot needs, but a value of type "
            f"{type(made).__name__}"
        )
    return made


def find_target(name: Any) -> Any:
    """Find what a ``_target_`` names.

    Raises:
        UserError: If it names nothing that can be imported.
    """
    try:
        return _found(name)
    # A name may also lead to what cannot be looked into, or be no text; and a file of one's own may raise anything.
    except Exception as error:
        place = place_in_own(error)
        reason = f"{place}: {_said(error)}" if place else " ".join(str(error).split())
        raise UserError(f"_target_ {name!r} cannot be imported: {reason}") from error


def _found(name: str) -> Any:
    # Hydra's own function for it logs each error, with the lines of the message as one.
    first, *rest = name.split(".")
    found = importlib.import_module(first)
    for number, word in enumerate(rest):
        if isinstance(found, ModuleType) and not hasattr(found, word):
            found = importlib.import_module(".".join((first, *rest[: number + 1])))
        else:
            found = getattr(found, word)
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _value(value: Any, offers: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return make(value, **offers)
        return {key: _value(item, offers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item, offers) for item in value]
    return value


def absorb_files(config: Config) -> Config:
    """Replace names of files by their content, where a part defines how: a run must open without the files.

    A part defines this in a static method ``absorb`` that takes and returns its node of the config.

    Raises:
        UserError: If a file cannot be used.
    """

    def absorbed(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        node = {name: absorbed(item) for name, item in value.items()}
        try:
            target = find_target(node["_target_"]) if "_target_" in node else None
        except UserError:
            # Calling it raises a better message.
            target = None
        if target is None or not hasattr(target, "absorb"):
            return node
        try:
            return target.absorb(node)
        except ValueError as error:
            raise UserError(str(error)) from error

    return absorbed(config)
