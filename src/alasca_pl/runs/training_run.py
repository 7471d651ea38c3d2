"""One run, from a resolved config to its folder."""

import csv
import logging
import shlex
import signal
import time
from pathlib import Path

import yaml
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from alasca_pl.build.make import Config
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_atomically
from alasca_pl.core.interrupts import Interrupted, postponed
from alasca_pl.core.record import RunRecord, SessionRecord, Status, listed_by_reason, now
from alasca_pl.core.rows import Row, read_rows
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.data.images import ImageError
from alasca_pl.report.summary import summarise
from alasca_pl.runs import environment
from alasca_pl.runs.prepared import Run, prepare
from alasca_pl.runs.resume import needs_trust
from alasca_pl.training.callbacks.history import History
from alasca_pl.training.inactive import inactive_parts
from alasca_pl.training.wandb import WandbRunLogger

__all__ = ["Run", "needs_trust", "prepare", "train"]

log = logging.getLogger(__name__)


def train(run: Run) -> RunRecord:
    """Train a prepared run and keep it in its folder.

    Returns:
        The record. On processes other than the first it lacks the metrics.

    Raises:
        Interrupted: If the process is told to stop. Its ``advice`` says how the run goes on.
    """
    try:
        return _train(run)
    except Interrupted as stop:
        stop.advice = _way_on(run)
        raise
    finally:
        if run.lock is not None:
            run.lock.undo()


def _way_on(run: Run) -> str:
    if run.record.status == "finished":
        return f"the run is finished: {run.folder.path}"
    if run.folder.last.is_file():
        trust = ["trust=true"] if needs_trust(run.record.overrides, run.record.config_dirs) else []
        return f"go on with {shlex.join(['alasca-train', f'ckpt_path={run.folder.last}', *trust])}"
    return "there is no checkpoint yet; the same command starts the run again"


def _train(run: Run) -> RunRecord:
    start = time.monotonic()
    session = SessionRecord(now(), str(run.checkpoint) if run.checkpoint else None)
    run.record.sessions = [*run.record.sessions, session]
    status: Status = "failed"
    problem = None
    try:
        # A signal that comes while the first record is written is heeded here, too.
        _begin(run)
        run.trainer.fit(run.module, run.data, ckpt_path=run.checkpoint)
        if run.trainer.is_global_zero and not run.folder.metrics.is_file():
            raise UserError(f"nothing was trained: {run.folder.path} holds no epoch; see the options of group trainer")
        status = "finished"
    except SIGTERMException as stop:
        # From Lightning's own handlers, which are in force under Slurm.
        status = "interrupted"
        raise Interrupted(signal.SIGTERM) from stop
    except (Interrupted, KeyboardInterrupt, SystemExit):
        status = "interrupted"
        raise
    except ImageError as error:
        problem = ImageError.text_of(error)
        raise UserError(f"{problem}; data.check=full finds such images before training") from error
    except MisconfigurationException as error:
        # Lightning's, of parts that do not go together.
        problem = " ".join(str(error).split())
        raise UserError(problem) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        if run.checkpoint is not None and run.record.processes == 1 and not _has_begun(run):
            reason = problem.splitlines()[0]
            raise UserError(f"{run.checkpoint} cannot be gone on from, nothing was trained ({reason})") from error
        raise
    finally:
        with postponed():
            if run.trainer.interrupted and status == "finished":
                status = "interrupted"
            seconds = time.monotonic() - start
            session.seconds, run.record.duration_seconds = round(seconds, 2), round(_duration(run, seconds), 2)
            if run.trainer.is_global_zero:
                _end(run, status, problem)
    return run.record


def _duration(run: Run, seconds: float) -> float:
    """Seconds of training, with those before the checkpoint that was gone on from; at least those of this process."""
    # With launchers that fork, the callback of this process has not trained.
    clocks = [callback.seconds for callback in run.trainer.callbacks if isinstance(callback, History)]  # type: ignore[attr-defined]
    return max(seconds, *clocks)


def _has_begun(run: Run) -> bool:
    """Whether a checkpoint has been taken up and training has begun."""
    return any(isinstance(callback, History) and callback.has_begun for callback in run.trainer.callbacks)  # type: ignore[attr-defined]


@rank_zero_only
def _begin(run: Run) -> None:
    with postponed():
        _write_first(run)


def _write_first(run: Run) -> None:
    if run.checkpoint is None:
        # Left by a run that was interrupted before its first checkpoint.
        for file in (run.folder.metrics, run.folder.samples, run.folder.curves, run.folder.best):
            file.unlink(missing_ok=True)
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    write_atomically(run.folder.config, lambda file: file.write(text.encode()))
    run.data.noisy_labels.save(run.folder.noise)
    run.record.write(run.folder.record)


def _end(run: Run, status: Status, problem: str | None) -> None:
    record = run.record
    record.status, record.ended, record.problem = status, now(), problem
    record.hardware, record.peak_memory_mb = environment.hardware(), environment.peak_memory()
    # From the file, because with some launchers the callbacks of this process have seen nothing.
    rows = _rows(run.folder.metrics)
    if rows:
        record.metrics = summarise(rows, run.config["report"]["last_epochs"])
        record.cut = _cut(run.config, rows[-1]) if status == "finished" else None
        record.estimated_noise = _estimated_noise(run)
        record.inactive = inactive_parts(run.trainer, run.module, rows) if status == "finished" else {}
        for remark in listed_by_reason([(record.folder, record.inactive)]):
            log.warning("%s", remark)
    record.write(run.folder.record)
    if rows:
        try:
            # Imported late, because a run starts without pictures.
            from alasca_pl.report.curves import plot_curves

            plot_curves(rows, _title(run), run.folder.curves)
        except Exception as error:
            # A picture is not worth a run, nor may it hide why the run ended.
            log.warning("%s could not be drawn: %s", run.folder.curves.name, error)
    for logger in run.trainer.loggers:
        if isinstance(logger, WandbRunLogger):
            _end_in_wandb(logger, run)


def _end_in_wandb(logger: WandbRunLogger, run: Run) -> None:
    try:
        if run.record.metrics:
            from alasca_pl.runs.dashboard import show_results

            show_results(logger, run.folder, run.record, run.data)
        logger.end(run.record.status == "finished")
    except Exception as error:
        # The run's own folder has all of it.
        log.warning("Weights & Biases did not get all results: %s", error)


def _cut(config: Config, last: Row) -> str | None:
    """What ended training before its last epoch was done, from the config and the last row of metrics."""
    trainer, patience = config["trainer"], config.get("early_end", {}).get("patience")
    done, epochs, steps = last["epoch"] + 1, trainer["max_epochs"], trainer.get("max_steps")
    if steps is not None and last["step"] >= steps > 0:
        return f"trainer.max_steps={steps}, in epoch {done} of {epochs}"
    if epochs is None or done >= epochs:
        return None
    options = {"early_end.patience": patience, "trainer.max_time": trainer.get("max_time")}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return f"{' or '.join(given) or 'a callback'}, in epoch {done} of {epochs}"


def _estimated_noise(run: Run) -> list[float] | None:
    """Fraction of the training labels that seem wrong, and its interval; None where it is known or errors were planted."""
    noise = run.record.noise
    if noise.realised_rate is not None or noise.planted or not run.folder.samples.is_file():
        return None
    try:
        # Imported late, because few runs need it.
        from alasca_pl.audit.count import estimate

        file = SampleFile.load(run.folder.samples)
        if not file.visits.any():
            return None
        count = estimate(file, run.data.facts.num_classes)
    except Exception as error:
        # An estimate is not worth a run either.
        log.warning("the number of wrong labels could not be estimated: %s", error)
        return None
    return [value / count.size for value in (count.estimate, count.low, count.high)]


def _rows(path: Path) -> list[Row]:
    try:
        return read_rows(path) if path.is_file() else []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        # Nor may this hide why the run ended.
        log.warning("%s is damaged: %s", path, error)
        return []


def _title(run: Run) -> str:
    noise, choices = run.record.noise, run.record.choices
    rate = "" if noise.realised_rate is None else f", {noise.realised_rate:.0%} noisy labels"
    if run.record.estimated_noise is not None:
        rate = f", about {run.record.estimated_noise[0]:.0%} of them wrong (estimated)"
    method = choices.get("method", "")
    method += "" if choices.get("alasca") in (None, "none") else " + ALASCA"
    kind = "labels as given" if noise.kind == "none" else f"{noise.kind} noise"
    return f"{run.data.name}, {kind}{rate}: {method}"
