"""Commands. What they import is imported by the call, so that signals are heeded from the first moment."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import alasca_pl
from alasca_pl.cli.bars import bar
from alasca_pl.core import interrupts, threads
from alasca_pl.core.allocation import keep_freed_memory
from alasca_pl.core.progress import drawn_by
from alasca_pl.core.terminal import PrintableRecord, say

__all__ = [
    "CONF_DIR",
    "audit",
    "bench",
    "evaluate",
    "export",
    "measure",
    "noise",
    "predict",
    "report",
    "sweep",
    "train",
]

_PACKAGED = Path(__file__).parents[1] / "conf"
# In a source checkout the configs lie beside src; in an installed package, inside it.
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"


def train() -> None:
    """``alasca-train``: train one run, or with ``-m`` one run per combination of values."""
    with _stopping_well():
        from alasca_pl.cli import train_command

        train_command.train()


def evaluate() -> None:
    """``alasca-evaluate``: measure a checkpoint on a split of its data."""
    with _stopping_well():
        from alasca_pl.cli import evaluate_command

        evaluate_command.evaluate()


def measure() -> None:
    """``alasca-measure``: norms of representations and Jacobians at checkpoints."""
    with _stopping_well():
        from alasca_pl.cli import measure_command

        measure_command.measure()


def noise() -> None:
    """``alasca-noise``: make, inspect and verify files of noisy labels."""
    with _stopping_well():
        from alasca_pl.cli import noise_command

        noise_command.noise()


def predict() -> None:
    """``alasca-predict``: classify images with a run."""
    with _stopping_well():
        from alasca_pl.cli import predict_command

        predict_command.predict()


def export() -> None:
    """``alasca-export``: write a run as one file for other programs."""
    with _stopping_well():
        from alasca_pl.cli import export_command

        export_command.export()


def report() -> None:
    """``alasca-report``: tables, comparisons and curves of finished runs."""
    with _stopping_well():
        from alasca_pl.cli import report_command

        report_command.report()


def sweep() -> None:
    """``alasca-sweep``: look at a sweep, and carry its records elsewhere."""
    with _stopping_well():
        from alasca_pl.cli import sweep_command

        sweep_command.sweep()


def audit() -> None:
    """``alasca-audit``: which labels of a run are likely wrong, and what people decided on them."""
    with _stopping_well():
        from alasca_pl.cli import audit_command

        audit_command.audit()


def bench() -> None:
    """``alasca-bench``: what training costs on this machine."""
    with _stopping_well():
        from alasca_pl.cli import bench_command

        bench_command.bench()


@contextlib.contextmanager
def _stopping_well() -> Iterator[None]:
    """End with one line and the status that shells give, should the command be told to stop."""
    if sys.argv[1:] == ["--version"]:
        # Hydra would give its own.
        say(f"alasca_pl {alasca_pl.__version__}")
        sys.exit()
    interrupts.install()
    threads.stop_spinning()
    keep_freed_memory()
    plain = logging.getLogRecordFactory()
    logging.setLogRecordFactory(PrintableRecord)
    try:
        with drawn_by(bar):
            yield
    except interrupts.Interrupted as stop:
        advice = stop.advice or "nothing has to be kept; the same command starts again"
        sys.stdout.flush()
        say(f"interrupted; {advice}", file=sys.stderr)
        # Signals that come while the interpreter ends have nothing to stop any more, so they are still taken.
        sys.exit(stop.status)
    except BaseException:
        interrupts.uninstall()
        raise
    finally:
        logging.setLogRecordFactory(plain)
    interrupts.uninstall()
