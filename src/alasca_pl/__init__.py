"""Train image classifiers on noisy labels: ALASCA and its baselines."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alasca_pl.report.collection import Runs as Runs
    from alasca_pl.report.collection import load_runs as load_runs
    from alasca_pl.runs.audit import audit_run as audit_run
    from alasca_pl.runs.load import LoadedRun as LoadedRun
    from alasca_pl.runs.load import load_run as load_run

__version__ = "0.1.0"
__all__ = ["LoadedRun", "Runs", "__version__", "audit_run", "load_run", "load_runs"]


def __getattr__(name: str) -> Any:
    # Imported late, so that a command with a wrong option fails before torch is imported.
    if name in ("load_run", "LoadedRun"):
        from alasca_pl.runs import load

        return getattr(load, name)
    if name == "audit_run":
        from alasca_pl.runs import audit

        return audit.audit_run
    if name in ("load_runs", "Runs"):
        from alasca_pl.report import collection

        return getattr(collection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
