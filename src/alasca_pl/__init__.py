"""Train image classifiers on noisy labels: ALASCA and its baselines."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alasca_pl.runs.load import LoadedRun as LoadedRun
    from alasca_pl.runs.load import load_run as load_run

__version__ = "0.1.0"
__all__ = ["LoadedRun", "__version__", "load_run"]


def __getattr__(name: str) -> Any:
    # Imported late, so that a command with a wrong option fails before torch is imported.
    if name in ("load_run", "LoadedRun"):
        from alasca_pl.runs import load

        return getattr(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
