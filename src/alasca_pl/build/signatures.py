"""Signatures of classes and functions, read from their source, so that values are checked before anything is imported."""

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from alasca_pl.build.sources import Module, bases, definition, read_module

_INTEGERS = range(-(2**63), 2**63)
_OF_VALUES = ("str", "int", "float", "dict", "list", "tuple", "Enum", "StrEnum", "IntEnum", "TypedDict", "NamedTuple")
_PLURALS = {"a whole number": "whole numbers", "a number": "numbers", "text": "words", "true or false": "flags"}
_EMPTY = next(node for node in ast.parse("def __init__(self): pass").body if isinstance(node, ast.FunctionDef))
_LISTS = ("Sequence", "Iterable", "list", "List", "tuple", "Tuple")


@dataclass(frozen=True, eq=False)
class Function:
    """A function, or what a class does when it is called.

    Attributes:
        module: The module in which it is defined; names in annotations are looked up there.
        node: Its definition.
        owner: The class, if it is a method.
    """

    module: Module
    node: ast.FunctionDef
    owner: tuple[Module, ast.ClassDef] | None = None

    @property
    def arguments(self) -> dict[str, ast.expr | None]:
        """Annotations by name, without that of ``self``."""
        listed = self.node.args
        every = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs]
        return {one.arg: one.annotation for one in every[1 if self.owner else 0 :]}

    @property
    def defaults(self) -> dict[str, ast.expr]:
        """Expressions of default values by name."""
        listed = self.node.args
        positional = [one.arg for one in (*listed.posonlyargs, *listed.args)]
        found = dict(zip(positional[len(positional) - len(listed.defaults) :], listed.defaults, strict=True))
        return found | {
            one.arg: value for one, value in zip(listed.kwonlyargs, listed.kw_defaults) if value is not None
        }

    @property
    def takes_any(self) -> bool:
        """Whether it takes arguments of any name."""
        return self.node.args.kwarg is not None


def signature(target: str) -> Function | None:
    """Look up what a ``_target_`` calls, or None if that cannot be told from source.

    Args:
        target: Dotted name of a class or function.

    Raises:
        UserError: If it leads to a file of one's own that cannot be read.
    """
    name, _, last = target.rpartition(".")
    module = read_module(name) if name else None
    found = definition(module, last) if module else None
    return called(*found) if found else None


def called(module: Module, node: ast.AST) -> Function | None:
    """What is called: a function itself, or the first ``__init__`` of a class and its bases."""
    if isinstance(node, ast.FunctionDef):
        return None if _may_differ(module, node) else Function(module, node)
    return method(module, node, "__init__") if isinstance(node, ast.ClassDef) else None


def _may_differ(module: Module, node: ast.FunctionDef) -> bool:
    """Whether decorators, of which nothing is known, may change what a function takes."""
    return module.is_own and bool(node.decorator_list)


def method(module: Module, node: ast.ClassDef, name: str, inherited: bool = False) -> Function | None:
    """A method of a class, or with ``inherited`` only one of its bases; None also where one of them cannot be read.

    A class of which no base has an ``__init__`` is called without arguments.
    """
    for place in bases(module, node)[1 if inherited else 0 :]:
        if place is None:
            return None
        where, owner = place
        own = [one for one in owner.body if isinstance(one, ast.FunctionDef) and one.name in (name, "__new__")]
        if len(own) == 1 and own[0].name == name and not _may_differ(where, own[0]):
            return Function(where, own[0], (where, owner))
        # Decorators, such as dataclass, may bring one, and a __new__ may take other arguments.
        if own or (name == "__init__" and (owner.decorator_list or owner.keywords)):
            return None
    return Function(module, _EMPTY, (module, node)) if name == "__init__" else None


def fits(value: Any, annotation: ast.expr | None, module: Module) -> bool:
    """Whether a plain value has the type of an annotation; what cannot be told fits.

    Args:
        value: A value of a config.
        annotation: An annotation, or None.
        module: Where names in it are looked up.
    """
    options = [_fits_one(value, option, where) for option, where in _options(annotation, module)]
    return any(options) or not options


def describe(annotation: ast.expr | None, module: Module) -> str:
    """Say in words what ``fits`` an annotation."""
    options = list(_options(annotation, module))
    words = [str(option.value) for option, _ in options if _is_word(option)]
    choices = [f"one of {', '.join(words)}" if len(words) > 1 else words[0]] if words else []
    said = [_describe_one(option, where) for option, where in options if not _is_word(option)]
    return " or ".join(
        dict.fromkeys([*(one for one in said if one != "null"), *choices, *(["null"] if "null" in said else [])])
    )


def shown(value: Any) -> str:
    """A value in a message."""
    is_large = isinstance(value, int) and value not in _INTEGERS
    return f"{value!r}{', which has more than 64 bits' if is_large else ''}"


def words_of(annotation: ast.expr | None, module: Module) -> list[str]:
    """Words that an annotation lists."""
    return [str(option.value) for option, _ in _options(annotation, module) if _is_word(option)]


def _is_word(option: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(option, ast.Constant) and option.value is not None


def _options(annotation: ast.expr | None, module: Module) -> Iterator[tuple[ast.expr, Module]]:
    """Types that an annotation offers, one by one, with aliases replaced by what they stand for; literals are constants."""
    name = annotation.id if isinstance(annotation, ast.Name) else None
    outer = annotation.value if isinstance(annotation, ast.Subscript) else None
    kind = outer.id if isinstance(outer, ast.Name) else outer.attr if isinstance(outer, ast.Attribute) else None
    if annotation is None:
        return
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        yield from _options(ast.parse(annotation.value, mode="eval").body, module)
    elif isinstance(annotation, ast.BinOp):
        yield from _options(annotation.left, module)
        yield from _options(annotation.right, module)
    elif isinstance(annotation, ast.Subscript) and kind in ("Optional", "Union", "Literal", "Annotated"):
        inner = annotation.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        for part in parts[:1] if kind == "Annotated" else parts:
            if kind == "Literal":
                yield part, module
            else:
                yield from _options(part, module)
        if kind == "Optional":
            yield ast.Constant(None), module
    elif name is not None and (found := definition(module, name)) and isinstance(found[1], ast.expr):
        yield from _options(found[1], found[0])
    else:
        yield annotation, module


def _fits_one(value: Any, option: ast.expr, module: Module) -> bool:
    if isinstance(option, ast.Constant):
        return type(value) is type(option.value) and value == option.value
    if isinstance(option, ast.Name):
        match option.id:
            case "int":
                return isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS
            case "float":
                is_whole = isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS
                return is_whole or (isinstance(value, float) and math.isfinite(value))
            case "bool":
                return isinstance(value, bool)
            case "str":
                return isinstance(value, str)
            case "Path":
                return isinstance(value, str | Path)
            case "dict" | "Mapping":
                return isinstance(value, Mapping)
            case "list" | "tuple":
                return isinstance(value, list | tuple)
        found = definition(module, option.id)
        is_class = found is not None and isinstance(found[1], ast.ClassDef) and not _is_of_values(*found)
        return isinstance(value, Mapping) and "_target_" in value if is_class else True
    kind, parts = _generic(option)
    if kind in _LISTS:
        inner = [part for part in parts if not (isinstance(part, ast.Constant) and part.value is ...)]
        if not isinstance(value, list | tuple):
            return False
        if kind in ("tuple", "Tuple") and len(inner) == len(parts):
            return len(value) == len(inner) and all(fits(item, part, module) for item, part in zip(value, inner))
        return all(fits(item, inner[0], module) for item in value)
    if kind in ("dict", "Dict", "Mapping") and len(parts) == 2:
        return isinstance(value, Mapping) and all(
            fits(key, parts[0], module) and fits(item, parts[1], module) for key, item in value.items()
        )
    return kind != "Callable" or (isinstance(value, Mapping) and "_target_" in value)


def _is_of_values(module: Module, node: ast.AST) -> bool:
    """Whether a class is one of plain values, such as an enumeration of texts, for which values may stand."""
    known = bases(module, node) if isinstance(node, ast.ClassDef) else []
    return None in known or any(
        isinstance(base, ast.Name) and base.id in _OF_VALUES for place in known if place for base in place[1].bases
    )


def _describe_one(option: ast.expr, module: Module) -> str:
    if isinstance(option, ast.Constant):
        return "null"
    if isinstance(option, ast.Name):
        known = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "Path": "a path"}
        known |= {"dict": "a mapping", "Mapping": "a mapping", "list": "a list", "tuple": "a list"}
        return known.get(option.id, f"a node with _target_ ({option.id})")
    kind, parts = _generic(option)
    if kind in _LISTS:
        inner = describe(parts[0], module)
        fixed = kind in ("tuple", "Tuple") and len(parts) > 1 and not isinstance(parts[1], ast.Constant)
        return f"a list of {f'{len(parts)} ' if fixed else ''}{_PLURALS.get(inner, f'entries, each {inner}')}"
    if kind in ("dict", "Dict", "Mapping"):
        return "a mapping"
    return "a node with _target_"


def _generic(option: ast.expr) -> tuple[str | None, list[ast.expr]]:
    if not isinstance(option, ast.Subscript) or not isinstance(option.value, ast.Name):
        return None, []
    inner = option.slice
    return option.value.id, list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
