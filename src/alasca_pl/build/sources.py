"""What modules define, read from their source; nothing is imported."""

import ast
import functools
import importlib
import importlib.util
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from alasca_pl.core.errors import UserError

_PACKAGE = "alasca_pl"
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib", "stdlib", "platstdlib")
)
# Bases whose constructors take no arguments of a subclass.
_ROOTS = {
    "object", "abc.ABC", "typing.Protocol", "typing.Generic", "torch.nn.Module", "torch.nn.modules.Module",
    "torch.nn.modules.module.Module",
}  # fmt: skip
_Place = tuple["Module", ast.AST]


@dataclass(frozen=True, eq=False)
class Module:
    """The top level of a module.

    Attributes:
        name: Its dotted name.
        names: What its names stand for: a class, a function, the value of an assignment, or an import.
        imports: From a name to the module that it is imported from, and its name there; "" for the module itself.
        file: Its file, or None.
        tree: Its source, or None.
    """

    name: str
    names: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    file: Path | None = None
    tree: ast.Module | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is a file of the user's, neither installed nor of this package."""
        return self.file is not None and is_own(self.name, self.file)

    @functools.cached_property
    def bound(self) -> frozenset[str] | None:
        """All names that its statements bind at the top level; None if that cannot be told."""
        names: set[str] = set()
        for node in _outside_functions(self.tree.body if self.tree else []):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Name) and node.id in ("globals", "vars", "exec"):
                return None
        return None if {"*", "__getattr__"} & names else frozenset(names)


def read_module(name: str) -> Module | None:
    """Read a module, without importing it; None if there is no such file.

    Raises:
        UserError: If it is a file of one's own with an error in it.
    """
    found = file_of(name)
    if found is None:
        return None
    file, is_package = found
    state = file.stat()
    return _parsed(name, file, is_package, (state.st_mtime_ns, state.st_size))


def located(target: str) -> tuple[Module, str] | None:
    """The module that a dotted name leads into, and the name in it; None if no source is found on the way."""
    words = target.split(".")
    for end in range(len(words) - 1, 0, -1):
        module = read_module(".".join(words[:end]))
        if module is not None:
            return module, words[end]
    return None


def definition(module: Module, name: str) -> _Place | None:
    """Where a name of a module is defined, in it or in another one that may be read."""
    for _ in range(10):
        if name in module.names:
            return module, module.names[name]
        origin, name = module.imports.get(name, ("", ""))
        other = _imported(module, origin) if name else None
        if other is None:
            return None
        module = other
    return None


def bases(module: Module, node: ast.ClassDef) -> list[tuple[Module, ast.ClassDef] | None]:
    """A class and its bases in the order in which Python looks for a method; None stands for one that cannot be read."""
    every: list[tuple[Module, ast.ClassDef] | None] = [(module, node)]
    for base in node.bases:
        if isinstance(base, ast.Subscript):
            base = base.value
        if _dotted(module, base) in _ROOTS:
            continue
        found = _resolved(module, base)
        is_class = found is not None and isinstance(found[1], ast.ClassDef) and found[1] is not node
        every += bases(*found) if is_class else [None]  # type: ignore[misc]
    # What several bases share comes after all of them.
    return [one for number, one in enumerate(every) if one is None or one not in every[number + 1 :]]


def _resolved(module: Module, expression: ast.expr) -> _Place | None:
    if isinstance(expression, ast.Name):
        return definition(module, expression.id)
    origin, _, name = (_dotted(module, expression) or "").rpartition(".")
    other = _imported(module, origin) if origin else None
    return definition(other, name) if other else None


def _dotted(module: Module, expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Attribute):
        before = _dotted(module, expression.value)
        return f"{before}.{expression.attr}" if before else None
    if not isinstance(expression, ast.Name):
        return None
    if expression.id in module.imports:
        return ".".join(word for word in module.imports[expression.id] if word)
    return f"{module.name}.{expression.id}" if expression.id in module.names else expression.id


def _imported(module: Module, origin: str) -> Module | None:
    """A module that another one imports, if it is of the same package, of this one, or the user's."""
    top = origin.split(".")[0]
    return read_module(origin) if top in (module.name.split(".")[0], _PACKAGE) or is_file_of_own(origin) else None


def is_file_of_own(name: str) -> bool:
    """Whether a module is a file of the user's."""
    found = file_of(name) if name else None
    return found is not None and is_own(name, found[0])


def find_spec(top: str) -> ModuleSpec | None:
    """Where Python would find a module without a point in its name; None if nowhere."""
    try:
        found = importlib.util.find_spec(top)
        if found is None:
            # A file that was written a moment ago.
            importlib.invalidate_caches()
            found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    return found


@functools.cache
def _installed(top: str) -> ModuleSpec | None:
    spec = find_spec(top)
    return spec if spec is not None and spec.origin and not is_own(top, Path(spec.origin)) else None


def file_of(name: str) -> tuple[Path, bool] | None:
    """File of a module, and whether it is that of a package."""
    top, *rest = name.split(".")
    spec = _installed(top) or find_spec(top)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    if not places and not rest and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin), False
    for place in places:
        path = Path(place, *rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file() and (rest or file.name == "__init__.py"):
                return file, file.name == "__init__.py"
    return None


def is_own(name: str, file: Path) -> bool:
    """Whether the file of a module is the user's, neither installed nor of this package."""
    return name.split(".")[0] != _PACKAGE and not str(file.resolve()).startswith(_INSTALLED)


@functools.lru_cache(maxsize=1024)
def _parsed(name: str, file: Path, is_package: bool, state: tuple[int, int]) -> Module | None:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        if not is_own(name, file):
            return None
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(f"{shown_file(file)}{line}: {said}") from error
    return _top_level(Module(name, file=file, tree=tree), is_package)


def _top_level(module: Module, is_package: bool) -> Module:
    words = module.name.split(".")
    for node in _statements(module.tree.body if module.tree else []):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            module.names[node.name] = node
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            module.names[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            module.names[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom):
            above = words[: len(words) - node.level + is_package] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (origin, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                module.imports[name] = (alias.name if alias.asname else name, "")
    return module


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the top level, also those within conditions and tries, without their other branches."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _statements(node.body)
        else:
            yield node


def _outside_functions(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements and expressions of a module's own level, also within conditions, loops and the like."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += reversed(list(ast.iter_child_nodes(node)))


def shown_file(file: Path | None) -> str:
    """A file's name, relative to the current folder if it is in it."""
    assert file is not None
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
