"""Train image classifiers on noisy labels: ALASCA and its baselines."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alasca_pl.cli.in_python import train as train
    from alasca_pl.core.errors import UserError as UserError
    from alasca_pl.report.collection import Runs as Runs
    from alasca_pl.report.collection import load_runs as load_runs
    from alasca_pl.runs.audit import audit_run as audit_run
    from alasca_pl.runs.load import LoadedRun as LoadedRun
    from alasca_pl.runs.load import load_run as load_run

__version__ = "0.1.0"
__all__ = ["LoadedRun", "Runs", "UserError", "__version__", "audit_run", "load_run", "load_runs", "train"]

_MODULES = {
    "LoadedRun": "runs.load",
    "Runs": "report.collection",
    "UserError": "core.errors",
    "audit_run": "runs.audit",
    "load_run": "runs.load",
    "load_runs": "report.collection",
    "train": "cli.in_python",
}


def __getattr__(name: str) -> Any:
    # Imported late, so that a command with a wrong option fails before torch is imported.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
