"""What is wrong with files of the user's own that a config names, told without importing them."""

import ast
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from alasca_pl.build.sources import Module, file_of, find_spec, is_file_of_own, is_own, located, read_module, shown_file
from alasca_pl.core.errors import UserError, did_you_mean


def own_problem(target: str) -> str | None:
    """What is wrong with the file of one's own that a dotted name leads into, or None.

    Args:
        target: Dotted name of a class or function.
    """
    top = target.split(".")[0]
    try:
        found = located(target)
    except UserError as error:
        return str(error)
    if found is None:
        own = [file.stem for file in sorted(Path().glob("*.py"))]
        spec = find_spec(top)
        if spec is not None and spec.origin is None and spec.submodule_search_locations:
            # A folder of the user's without a file of its own.
            return f"there is no module {target.rpartition('.')[0]}; {top} is a folder without it"
        if top == target or top in sys.modules or spec is not None:
            return None
        return f"there is no module {top}{did_you_mean(top, own)}, neither in the current folder nor installed"
    module, name = found
    if not module.is_own:
        return None
    return _failing_import(module) or (None if _has(module, name) else _missing(module, name))


def place_in_own(error: BaseException) -> str:
    """File and line of the user's in which an error arose, or an empty text."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_file() and is_own(str(frame.f_globals.get("__name__")), file):
            place = f"{shown_file(file)}, line {line}"
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        place = f"{shown_file(Path(error.filename))}, line {error.lineno}"
    return place


def _has(module: Module, name: str) -> bool:
    if module.bound is None or name in module.bound:
        return True
    return (
        module.file is not None and module.file.name == "__init__.py" and file_of(f"{module.name}.{name}") is not None
    )


def _missing(module: Module, name: str) -> str:
    callable_ones = [key for key, node in module.names.items() if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    others = f"; it has {', '.join(callable_ones)}" if callable_ones else ""
    return f"{shown_file(module.file)} has no {name}{did_you_mean(name, callable_ones)}{others}"


def _failing_import(module: Module) -> str | None:
    """The first import of a file that must fail, or None."""
    for node in module.tree.body if module.tree else ():
        if isinstance(node, ast.Import):
            problem = next((said for alias in node.names if (said := _lacking(alias.name))), None)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            problem = _lacking(node.module) or _lacking_name(node.module, [alias.name for alias in node.names])
        else:
            continue
        if problem is not None:
            return f"{shown_file(module.file)}, line {node.lineno}: {problem}"
    return None


def _lacking(name: str) -> str | None:
    top = name.split(".")[0]
    if top in sys.modules or find_spec(top) is not None:
        return None
    return f"there is no module {top}, neither in the current folder nor installed"


def _lacking_name(origin: str, names: Sequence[str]) -> str | None:
    other = read_module(origin) if is_file_of_own(origin) or origin.startswith("alasca_pl.") else None
    if other is None:
        return None
    return next((_missing(other, name) for name in names if name != "*" and not _has(other, name)), None)
