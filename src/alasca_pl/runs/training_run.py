"""One run, from a resolved config to its folder."""

import csv
import logging
import math
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from alasca_pl.build.data import build_data
from alasca_pl.build.make import Config, absorb_files, make
from alasca_pl.build.module import build_module, check_contracts, compile_networks, connect, oracle_slots
from alasca_pl.build.precision import resolve_precision
from alasca_pl.build.trainer import build_trainer
from alasca_pl.core.checkpoint import CHECKPOINT_KEY, command_of, read_checkpoint, run_ids_of
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_atomically
from alasca_pl.core.folder_lock import FolderLock
from alasca_pl.core.interrupts import Interrupted, postponed
from alasca_pl.core.paths import absolute_paths
from alasca_pl.core.record import DataRecord, NoiseRecord, RunRecord, SessionRecord, Status, now
from alasca_pl.core.rows import Row, read_rows
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.core.threads import choose_threads, pass_on
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.images import ImageError
from alasca_pl.data.views import SMALL
from alasca_pl.models.network import Network
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.report.summary import summarise
from alasca_pl.runs import environment
from alasca_pl.runs.checks import check_config, check_data, check_epochs, check_folder
from alasca_pl.runs.digests import flop_counts, parameter_counts, split_digest, weights_digest
from alasca_pl.runs.early import check_early
from alasca_pl.runs.fits import check_progress, rows_of
from alasca_pl.runs.resume import needs_trust
from alasca_pl.training.callbacks.history import History
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.wandb import WandbRunLogger

log = logging.getLogger(__name__)

# From overrides to the config that they give today, or None.
Recompose = Callable[[Sequence[str]], Mapping[str, Any] | None]


@dataclass
class Run:
    """Everything that a run needs, built and checked; nothing is trained yet.

    Attributes:
        config: Resolved config as plain containers.
        folder: Where the run is kept.
        data: The data.
        module: The module.
        trainer: The trainer.
        checkpoint: Checkpoint to go on from, or None.
        record: What is known of the run so far.
        lock: What keeps others out of the folder, or None on other ranks than the first.
    """

    config: Config
    folder: RunFolder
    data: NoisyDataModule
    module: NoisyLabelModule
    trainer: L.Trainer
    checkpoint: Path | None
    record: RunRecord
    lock: FolderLock | None = None


def prepare(
    config: Config, folder: Path, about: dict[str, Any], recompose: Recompose | None = None, is_new: bool = False
) -> Run:
    """Build a run and check everything that can be checked before training.

    The folder is locked until ``train`` ends. Nothing is written into it; if the run is refused, no folder is left.

    Args:
        config: Resolved config as plain containers.
        folder: Where the run is to be kept. It may exist, but must not hold a run, unless this one is resumed.
        about: What the record shall say besides, e.g. the command's overrides.
        recompose: Gives today's config of a checkpoint's overrides, or None if they give none. Without it, a checkpoint
            from before an option was added is refused.
        is_new: Whether the folder must not exist; if it does, a number is put after its name.

    Raises:
        UserError: If something is wrong; the message says what and how to go on.
    """
    check_early(config)
    run_folder = RunFolder(folder)
    if _rank() != 0:
        return _prepare(config, run_folder, about, None, recompose)
    lock = FolderLock(run_folder.path, run_folder.lock_name)
    if is_new:
        run_folder = RunFolder(lock.acquire_new())
    else:
        lock.acquire()
    try:
        return _prepare(config, run_folder, about, lock, recompose)
    except BaseException:
        with postponed():
            lock.undo()
        raise


def _prepare(
    config: Config, run_folder: RunFolder, about: dict[str, Any], lock: FolderLock | None, recompose: Recompose | None
) -> Run:
    checkpoint = RunFolder.checkpoint_at(config["ckpt_path"]) if config["ckpt_path"] else None
    # The run must find its data again from any folder.
    config = absorb_files(absolute_paths(config))
    previous = check_folder(run_folder, checkpoint, config) if _rank() == 0 else None
    stored = read_checkpoint(checkpoint) if checkpoint else None
    if stored is not None:
        overrides = command_of(stored)[0]
        again = None if recompose is None else lambda: recompose(overrides)
        check_config(stored[CHECKPOINT_KEY]["config"], config, again)
        check_epochs(stored, previous, config)
    check_contracts(config)
    if config["model"]["backbone"].get("pretrained"):
        # Weights that cannot be had are reported before images are decoded for minutes.
        make(config["model"]["backbone"], in_channels=3)
    L.seed_everything(config["seed"] % 2**32, verbose=False)
    data = build_data(config)
    if stored is not None:
        check_data(data, stored)
    module = build_module(config, data.facts)
    # What a resume repeats.
    module.command = {name: list(about.get(name, [])) for name in ("overrides", "config_dirs")}
    connect(module, data)
    # A run goes on with the precision that it started with, on any machine.
    before = stored[CHECKPOINT_KEY].get("precision") if stored is not None else None
    precision, remark = resolve_precision(config["trainer"], before)
    run_ids = run_ids_of(stored) if stored is not None else {}
    trainer = build_trainer(
        {**config, "trainer": {**config["trainer"], "precision": precision}}, data, run_folder, run_ids
    )
    if remark and _rank() == 0:
        log.info("%s", remark)
    if stored is not None:
        check_progress(stored, module, trainer)
    _set_threads(config, module, data, trainer)
    if max(data.facts.image_shape[1:]) > SMALL and config["model"]["backbone"]["_target_"].endswith("small_resnet"):
        log.info("model=small is made for small images; for these, model=resnet50 or model=timm is likely better")
    if trainer.strategy.root_device.type == "cpu" and torch.cuda.is_available():
        log.info("training on the CPU although there is a GPU; trainer=gpu uses it")
    if _rank() == 0:
        for line in data.describe():
            log.info("%s", line)
        if stored is not None:
            log.info("%s", _continues(stored, trainer))
        for slot in oracle_slots(config):
            log.info("%s is told the true noise rate (noise_rate: oracle)", slot)
    try:
        data.check_processes(trainer.num_devices * trainer.num_nodes)
    except ValueError as error:
        raise UserError(str(error)) from error
    # Before a checkpoint is loaded: what the run began with, also if this is a later stretch of it.
    networks: list[Network] = list(module.method.networks)  # type: ignore[arg-type]
    record = RunRecord(
        status="running",
        folder=str(run_folder.path),
        started=previous.started if previous else now(),
        seed=config["seed"],
        split_seed=config["data"].get("split_seed"),
        data=DataRecord(
            name=data.facts.name,
            sizes=data.sizes,
            num_classes=data.facts.num_classes,
            image_shape=list(data.facts.image_shape),
            class_names=list(data.facts.class_names),
            sha256=data.data_digest,
            skipped=len(data.skipped),
            clean_splits=list(data.prepared.clean_splits),
        ),
        noise=_noise_record(data.noisy_labels),
        val_noise=_noise_record(data.val_labels) if data.val_labels else None,
        oracle=oracle_slots(config),
        predict=config["predict"],
        versions=environment.versions(),
        git=environment.git_state(),
        hardware=environment.hardware(),
        processes=trainer.num_devices * trainer.num_nodes,
        precision=str(trainer.precision),
        sessions=previous.sessions if previous and checkpoint else [],
        config=config,
        initial_weights=[weights_digest(network) for network in networks],
        train_split=split_digest(data.noisy_labels.index),
        parameters=parameter_counts(networks[0]),
        flops=flop_counts(networks[0], data.facts.image_shape),
        **about,
    )
    # After all passes that are not training.
    compile_networks(module, config, data.batch_size // record.processes)
    return Run(config, run_folder, data, module, trainer, checkpoint, record, lock)


def _set_threads(config: Config, module: NoisyLabelModule, data: NoisyDataModule, trainer: L.Trainer) -> None:
    pixels = math.prod(data.facts.image_shape[1:])
    parameters = sum(parameter.numel() for parameter in module.method.networks[0].parameters())
    # Configs that were recorded before there was this option have none.
    number, why = choose_threads(config.get("threads", "auto"), pixels, parameters, trainer.num_devices)
    if number is not None:
        torch.set_num_threads(number)
        pass_on(number)
    if _rank() == 0:
        log.info("threads: %d (%s)", torch.get_num_threads(), why)


def _continues(stored: Mapping[str, Any], trainer: L.Trainer) -> str:
    """Where a checkpoint goes on; that of the end of an epoch goes on with the next one."""
    rows = rows_of(stored)
    done = len(rows)
    within = int(stored["global_step"]) - int(rows[-1]["step"] if rows else 0)
    after = f", after {within} of its steps" if within else ""
    return f"continuing with epoch {done + 1} of {trainer.max_epochs}{after}"


def _noise_record(labels: NoisyLabels) -> NoiseRecord:
    planted = 0 if labels.planted_from is None else int((labels.planted_from >= 0).sum())
    return NoiseRecord(labels.kind, labels.rate, labels.realised_rate, labels.seed, labels.digest, planted)


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
    _begin(run)
    status: Status = "failed"
    problem = None
    try:
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
        # From a worker it comes with that process's traceback in front.
        problem = str(error).strip().splitlines()[-1]
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
        if run.trainer.interrupted and status == "finished":
            status = "interrupted"
        session.seconds = round(time.monotonic() - start, 2)
        # With launchers that fork, the callback of this process has not trained; then its own clock must do.
        seconds = [callback.seconds for callback in run.trainer.callbacks if isinstance(callback, History)]  # type: ignore[attr-defined]
        run.record.duration_seconds = round(max(session.seconds, *seconds), 2)
        if run.trainer.is_global_zero:
            with postponed():
                _end(run, status, problem)
    return run.record


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


def _rank() -> int:
    return getattr(rank_zero_only, "rank", None) or 0
