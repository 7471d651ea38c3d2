"""A run, built and checked, with nothing trained yet."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from alasca_pl.build.data import build_data
from alasca_pl.build.make import Config, absorb_files, make
from alasca_pl.build.module import build_module, check_contracts, compile_networks, connect, oracle_slots
from alasca_pl.build.precision import resolve_precision
from alasca_pl.build.trainer import build_trainer
from alasca_pl.core.checkpoint import CHECKPOINT_KEY, command_of, read_checkpoint, run_ids_of
from alasca_pl.core.errors import UserError
from alasca_pl.core.folder_lock import FolderLock
from alasca_pl.core.interrupts import postponed
from alasca_pl.core.paths import absolute_paths
from alasca_pl.core.record import DataRecord, NoiseRecord, RunRecord, now
from alasca_pl.core.run_folder import RunFolder, find_checkpoint
from alasca_pl.core.threads import choose_threads, pass_on
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.views import SMALL
from alasca_pl.models.encoder import require_weights
from alasca_pl.models.network import Network
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.runs import environment
from alasca_pl.runs.checks import check_config, check_data, check_epochs
from alasca_pl.runs.digests import flop_counts, parameter_counts, split_digest, weights_digest
from alasca_pl.runs.early import check_early, check_folder, timm_encoders
from alasca_pl.runs.fits import check_progress, rows_of
from alasca_pl.training.module import NoisyLabelModule

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
    checkpoint = find_checkpoint(config["ckpt_path"]) if config["ckpt_path"] else None
    # The run must find its data again from any folder.
    config = absorb_files(absolute_paths(config))
    previous = check_folder(run_folder, checkpoint, config) if _rank() == 0 else None
    stored = read_checkpoint(checkpoint) if checkpoint else None
    if stored is not None:
        overrides = command_of(stored)[0]
        again = None if recompose is None else lambda: recompose(overrides)
        check_config(stored[CHECKPOINT_KEY]["config"], config, again)
        check_epochs(stored, previous, config, run_folder)
    check_contracts(config)
    if config["model"]["backbone"].get("pretrained"):
        # Weights that cannot be had are reported before images are decoded for minutes.
        make(config["model"]["backbone"], in_channels=3)
    if stored is None:
        # A run that goes on may have taken its features already.
        _check_encoder_weights(config)
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
            what = "transition matrix (matrix: oracle)" if slot == "criterion" else "noise rate (noise_rate: oracle)"
            log.info("%s is told the true %s", slot, what)
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


def _check_encoder_weights(config: Config) -> None:
    for place, node in timm_encoders(config):
        if node.get("pretrained", True):
            try:
                require_weights(node["name"], node.get("options") or {}, place)
            except ValueError as error:
                raise UserError(str(error)) from error


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


def _rank() -> int:
    return getattr(rank_zero_only, "rank", None) or 0
