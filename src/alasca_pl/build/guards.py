"""What a class or function would say of its arguments, told from its source.

Ranges are stated once, where a class checks its arguments::

    if not 0.0 < q <= 1.0:
        raise ValueError(f"q must lie in (0, 1], got {q}")

Such statements are followed here with the values of a config, also through the functions and constructors of this package
that are called on the way, so that a wrong value is reported before the libraries are loaded. What depends on anything
else, such as data, is passed over; the class itself checks it later.
"""

import ast
import builtins
import math
import typing
from collections.abc import Collection, Mapping
from typing import Any

from alasca_pl.build.signatures import Function, called, method
from alasca_pl.build.sources import Module, definition
from alasca_pl.core.extras import is_installed
from alasca_pl.models.timm_names import timm_problem

_PLAIN = ("abs", "all", "any", "bool", "dict", "float", "int", "isinstance", "len", "list", "max", "min", "range", "repr",
          "round", "set", "sorted", "str", "sum", "tuple", "type", "zip", "enumerate")  # fmt: skip
_KNOWN = {name: getattr(builtins, name) for name in _PLAIN} | {
    "math": math,
    "get_args": typing.get_args,
    "Literal": typing.Literal,
    "Mapping": Mapping,
    "is_installed": is_installed,
    "timm_problem": timm_problem,
}
# Calls that are followed from one to the next.
_DEPTH = 8
_UNKNOWN = object()


class _UnknownError(Exception):
    """The value of an expression cannot be told."""


class _EndedError(Exception):
    """Nothing more can be told of a function."""


class _RefusedError(Exception):
    """The function would raise an error with this message."""


def refusal(function: Function, values: Mapping[str, Any], unknown: Collection[str] = (), depth: int = 0) -> str | None:
    """The message of the first error that a function would raise for some arguments, or None if none is foreseen.

    Args:
        function: What is called.
        values: Known arguments by name. Others have their defaults, or are unknown if they have none.
        unknown: Arguments that will be given, but are not known yet.
        depth: Number of calls on the way to this one.
    """
    known = dict(values)
    for name, default in function.defaults.items():
        if name not in known and name not in unknown:
            known[name] = _value_or_unknown(default, {}, function.module)
    names = {name: value for name, value in known.items() if value is not _UNKNOWN}
    try:
        _Steps(function, names, depth).run(function.node.body)
    except _RefusedError as refused:
        return str(refused)
    except _EndedError:
        pass
    return None


class _Steps:
    """Follows the statements of one function as far as they are known."""

    def __init__(self, function: Function, names: dict[str, Any], depth: int) -> None:
        self._function, self._names, self._depth = function, names, depth

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.If():
                    self._branch(statement)
                case ast.For():
                    self._loop(statement)
                case ast.Raise(exc=ast.Call(func=ast.Name(), args=[text, *_])):
                    message = self._value(text)
                    raise _EndedError if message is _UNKNOWN else _RefusedError(message)
                case ast.Assert(test=test, msg=text):
                    self._assert(test, text)
                case ast.Raise() | ast.Return():
                    raise _EndedError
                case ast.Expr(value=ast.Call() as call):
                    self._call(call)
                case (
                    ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    if isinstance(value, ast.Call):
                        self._call(value)
                    self._assign(target, self._value(value))
                case _:
                    self._pass_over(statement)

    def _assert(self, test: ast.expr, text: ast.expr | None) -> None:
        holds = self._value(test)
        if holds is not _UNKNOWN and not holds:
            message = self._value(text) if text is not None else f"{ast.unparse(test)} does not hold"
            raise _EndedError if message is _UNKNOWN else _RefusedError(message)

    def _branch(self, statement: ast.If) -> None:
        test = self._value(statement.test)
        if test is _UNKNOWN:
            self._pass_over(statement)
        else:
            self.run(statement.body if test else statement.orelse)

    def _loop(self, statement: ast.For) -> None:
        items = self._value(statement.iter)
        if items is _UNKNOWN:
            self._pass_over(statement)
            return
        for item in items:
            self._assign(statement.target, item)
            self.run(statement.body)

    def _pass_over(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Return):
                raise _EndedError
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._names.pop(node.id, None)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Tuple):
            parts = list(value) if isinstance(value, list | tuple) else [_UNKNOWN] * len(target.elts)
            for one, part in zip(target.elts, parts):
                self._assign(one, part)
        elif isinstance(target, ast.Name):
            self._names.pop(target.id, None)
            if value is not _UNKNOWN:
                self._names[target.id] = value

    def _call(self, call: ast.Call) -> None:
        function = self._callee(call.func)
        unclear = any(isinstance(one, ast.Starred) for one in call.args) or any(
            one.arg is None for one in call.keywords
        )
        if function is None or unclear or self._depth >= _DEPTH:
            return
        given = dict(zip(function.arguments, call.args)) | {str(one.arg): one.value for one in call.keywords}
        values = {name: self._value(value) for name, value in given.items()}
        message = refusal(function, values, depth=self._depth + 1)
        if message is not None:
            raise _RefusedError(message)

    def _callee(self, expression: ast.expr) -> Function | None:
        owner = self._function.owner
        match expression:
            case ast.Name(id=name):
                found = definition(self._function.module, name)
                return called(*found) if found else None
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if owner:
                return method(*owner, name)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if owner:
                return method(*owner, name, inherited=True)
        return None

    def _value(self, expression: ast.expr) -> Any:
        return _value_or_unknown(expression, self._names, self._function.module)


def _value_or_unknown(expression: ast.expr, names: Mapping[str, Any], module: Module) -> Any:
    try:
        return _evaluate(expression, names, module)
    except Exception:
        # Whatever goes wrong here, the class itself will meet and report.
        return _UNKNOWN


def _evaluate(expression: ast.expr, names: Mapping[str, Any], module: Module) -> Any:
    read = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found: dict[str, Any] = {"__builtins__": {}}
    for name in read - bound:
        if name in names:
            found[name] = names[name]
        elif name in _KNOWN and name not in module.names:
            found[name] = _KNOWN[name]
        else:
            place = definition(module, name)
            if place is None or not isinstance(place[1], ast.expr):
                raise _UnknownError
            found[name] = _evaluate(place[1], {}, place[0])
    return eval(compile(ast.Expression(expression), module.name, "eval"), found)
