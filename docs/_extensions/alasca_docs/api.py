"""The API reference: pages that list the public modules of each room, whose docstrings Sphinx reads."""

import ast
from pathlib import Path

from alasca_docs.markdown import code

# Rooms in the order of the page; of some only the modules that others may build on.
_ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "core": (
        "Contracts and mechanisms",
        ("types", "parts", "sample_buffer", "scan", "selected", "schedules", "record"),
    ),
    "alasca": ("ALASCA", ()),
    "methods": ("Methods", ()),
    "models": ("Networks", ("network", "backbones", "preact", "teacher")),
    "noise": ("Noise", ()),
    "data": (
        "Data",
        ("samples", "digits", "cifar", "folder", "table", "npz", "huggingface", "clothing1m", "webvision")
        + ("augment", "views", "prepared", "datamodule"),
    ),
    "steps": ("Steps", ()),
    "training": ("Training", ("module", "predict")),
    "runs": ("Runs", ("load", "predict", "classifier", "export", "audit")),
    "report": ("Reports", ("collection", "saved")),
    "audit": ("Audits", ("audit", "count", "scores", "decisions", "simulate")),
}


def pages(root: Path) -> dict[str, str]:
    """A page for each room and one with the names at the top of the package."""
    source = root / "src" / "alasca_pl"
    made = {f"api/{room}": _room_page(source / room, room) for room in _ROOMS}
    rows = [f"- [{title}]({room}.md): {code(f'alasca_pl.{room}')}" for room, (title, _) in _ROOMS.items()]
    names = "\n\n".join(
        f"```{{eval-rst}}\n.. auto{kind}:: {target}\n   :no-index:\n{members}```"
        for kind, target in top_level_names(source / "__init__.py")
        for members in ["   :members:\n" if kind == "class" else ""]
    )
    listed = "\n".join(_ROOMS)
    made["api/index"] = (
        "# Python API\n\nShapes: B batch, K classes, N training samples, M networks, V mixed samples per row, D features.\n\n"
        + "\n".join(rows)
        + f"\n\n## Top of the package\n\nThese names are imported from `alasca_pl`.\n\n{names}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )
    return made


def _room_page(folder: Path, room: str) -> str:
    title, chosen = _ROOMS[room]
    modules = chosen or sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    blocks = [
        f"## {code(f'alasca_pl.{room}.{module}')}\n\n{_automodule(f'alasca_pl.{room}.{module}')}" for module in modules
    ]
    return "\n\n".join([f"# {title}", *blocks]) + "\n"


def _automodule(module: str) -> str:
    return f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :show-inheritance:\n   :member-order: bysource\n```"


def top_level_names(init: Path) -> list[tuple[str, str]]:
    """Kind and dotted name of what the package offers at its top, from its imports for type checkers.

    Args:
        init: The package's ``__init__.py``.
    """
    tree = ast.parse(init.read_text())
    public = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("alasca_pl."):
            for alias in node.names:
                name = alias.asname or alias.name
                kind = "class" if name[:1].isupper() else "function"
                if name in public:
                    found.append((kind, f"{node.module}.{alias.name}"))
    return list(dict.fromkeys(found))
