"""Who may import whom: an arrow that is not drawn here fails."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "alasca_pl"
FILES = sorted(SOURCE.rglob("*.py"))

# From a package to the packages and modules of ours that it may import.
ALLOWED = {
    "core": ("core",),
    "noise": ("core", "noise"),
    "models": ("core", "models"),
    "methods": ("core", "methods"),
    "alasca": ("core", "alasca"),
    "data": ("core", "noise", "data"),
    "steps": ("core", "models", "steps"),
    "training": ("core", "models", "noise", "steps", "training"),
    "build": ("core", "noise", "models", "methods", "alasca", "data", "steps", "training", "build"),
    "report": ("core", "report"),
    "audit": ("core", "audit"),
    "runs": ("core", "noise", "models", "data", "training", "build", "report", "audit", "runs"),
    "bench": ("core", "models", "data", "training", "build", "report", "runs", "bench"),
    "sweeps": ("core", "sweeps"),
    "cli": ("core", "runs", "report", "audit", "bench", "sweeps", "cli"),
}
# From a package to libraries that it must not know.
FORBIDDEN = {
    "noise": ("torch", "torchvision", "lightning"),
    "models": ("lightning",),
    "methods": ("lightning",),
    "alasca": ("lightning",),
    "steps": ("lightning",),
    "report": ("torch", "torchvision", "lightning"),
    "audit": ("torch", "torchvision", "lightning"),
    "sweeps": ("torch", "torchvision", "lightning", "hydra", "omegaconf"),
}


def imported(source: str, module: str, top_level: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, ours relative to ``alasca_pl`` and with a leading dot."""
    tree = ast.parse(source)
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["alasca_pl", *module.split(".")][: -node.level] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("alasca_pl") if name.split(".")[0] == "alasca_pl" else name for name in names)


def breaches(source: str, module: str) -> list[str]:
    """Imports of a module that are not allowed."""
    package = module.split(".")[0]
    wrong = []
    for name in imported(source, module):
        if name.startswith(".") and package in ALLOWED:
            wrong += [] if any(f"{name}.".startswith(f".{to}.") for to in ALLOWED[package]) else [name]
        library = name.split(".")[0]
        outside = library not in ("", "torch", "numpy", *sys.stdlib_module_names)
        if library in FORBIDDEN.get(package, ()) or (package == "core" and outside):
            wrong.append(name)
        if library in ("hydra", "omegaconf") and package not in ("cli", "build"):
            wrong.append(name)
    wrong += [
        name
        for name in imported(source, module, top_level=True)
        if name.split(".")[0] in ("wandb", "wandb_workspaces", "timm", "datasets", "mlflow", "tensorboard")
    ]
    return wrong


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_follow_the_arrows(file):
    assert breaches(file.read_text(), module_of(file)) == []


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("core.types", "from alasca_pl.noise.labels import Labels", ".noise.labels.Labels"),
        ("core.types", "import lightning as L", "lightning"),
        ("noise.model", "import torch", "torch"),
        ("models.network", "from alasca_pl.alasca.heads import AuxiliaryHead", ".alasca.heads.AuxiliaryHead"),
        ("methods.gce", "from alasca_pl import alasca", ".alasca"),
        ("alasca.heads", "from ..methods.gce import X", ".methods.gce.X"),
        ("methods.gce", "def f():\n    from alasca_pl.training import module", ".training.module"),
        ("data.npz", "import alasca_pl.models.network", ".models.network"),
        ("training.module", "from alasca_pl.methods import gce", ".methods.gce"),
        ("report.summary", "from alasca_pl.runs.load import load_run", ".runs.load.load_run"),
        ("report.curves", "import torch", "torch"),
        ("runs.training_run", "from hydra import compose", "hydra.compose"),
        ("training.wandb", "import wandb", "wandb"),
    ],
)
def test_a_wrong_arrow_is_found(module, source, breach):
    assert breaches(source, module) == [breach]


def test_no_modules_import_each_other_in_a_circle():
    names = {module_of(file).removesuffix(".__init__"): file for file in FILES}
    arrows = {
        name: {
            target
            for one in imported(file.read_text(), module_of(file), top_level=True)
            if one.startswith(".")
            for target in (one[1:], one[1:].rpartition(".")[0])
            if target in names and target != name
        }
        for name, file in names.items()
    }
    # Modules that import nothing left are taken away until none is; a circle stays.
    while True:
        leaves = {name for name, targets in arrows.items() if not targets & arrows.keys()}
        if not leaves:
            break
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert sorted(arrows) == []


def test_every_package_has_its_arrows():
    assert len(FILES) > 30
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert packages == ALLOWED.keys()


def test_a_command_answers_before_torch_is_imported():
    code = "import sys, alasca_pl.cli; print([name for name in ('torch', 'lightning', 'wandb') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
