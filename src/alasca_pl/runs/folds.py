"""Probabilities of each training label by networks that were not trained on it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alasca_pl.build.make import Config
from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import same_job
from alasca_pl.core.paths import MARKER
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.folds import HELD_OUT
from alasca_pl.runs.load import LoadedRun, open_checkpoint
from alasca_pl.runs.stored import data_of
from alasca_pl.runs.training_run import prepare, train
from alasca_pl.training.scan import run_scan

log = logging.getLogger(__name__)


def scan(run: LoadedRun, data: NoisyDataModule, split: str, request: ScanRequest, device: torch.device) -> ScanResult:
    """Scan a split with the networks of a run, without augmentation."""
    networks = run.module.to(device).method.networks
    label = torch.from_numpy(data.prepared.labels[split])
    return run_scan(list(networks), data.eval_batches(split), label, request, len(label))


def mean_probs(result: ScanResult) -> npt.NDArray[np.float32]:
    """Probabilities, averaged over the networks, (n, K)."""
    assert result.probs is not None
    return result.probs.mean(dim=0).numpy()


def train_folds(run: LoadedRun, count: int, say: Callable[[str], None] = log.info) -> list[RunFolder]:
    """Train one network, or set of networks, per fold on the labels outside of it, with the config of a run.

    Folds are as large as each other and stratified by given label. What is finished is not trained again, what was
    interrupted goes on.

    Args:
        run: The run.
        count: Number of folds.
        say: Told how long it takes before the training begins.

    Returns:
        The folders, ``folds/0`` and so on within the run's.

    Raises:
        UserError: If a folder holds another run.
    """
    wanted = [
        (RunFolder(RunFolder(run.folder).folds / str(number)), _config(run, number, count)) for number in range(count)
    ]
    missing = [(folder, config) for folder, config in wanted if not _is_finished(folder, config, count)]
    if missing:
        say(_announcement(run, len(missing), count))
    for number, (folder, config) in enumerate(missing):
        before = folder.last if folder.last.is_file() else None
        train(prepare({**config, "ckpt_path": before and str(before)}, folder.path, _about(run, config)))
        say(f"{number + 1} of {len(missing)} trained: {folder.path}")
    return [folder for folder, _ in wanted]


def out_of_fold_probs(
    run: LoadedRun,
    data: NoisyDataModule,
    count: int,
    device: torch.device,
    source: dict[str, Any] | None = None,
    trust: bool = False,
    say: Callable[[str], None] = log.info,
) -> npt.NDArray[np.float32]:
    """Probabilities of each training sample by the network of its own fold, (N, K); trains what is missing.

    Args:
        run: The run.
        data: Its data.
        count: Number of folds.
        device: Where predictions are made.
        source: See ``data_of``.
        trust: See ``load_run``.
        say: See ``train_folds``.
    """
    probs = np.full((data.facts.num_samples, data.facts.num_classes), np.nan, dtype=np.float32)
    for folder in train_folds(_with_source(run, source), count, say):
        fold_run = open_checkpoint(folder.last, trust)
        fold_data = data_of(fold_run, source)
        assert fold_data.prepared.held_out is not None
        result = scan(fold_run, fold_data, HELD_OUT, ScanRequest(probs=True), device)
        probs[fold_data.prepared.held_out] = mean_probs(result)
    if np.isnan(probs).any():
        raise UserError(f"the folds in {RunFolder(run.folder).folds} do not hold all labels; remove that folder")
    return probs


def _with_source(run: LoadedRun, source: dict[str, Any] | None) -> LoadedRun:
    if not source:
        return run
    return replace(run, config={**run.config, "data": {**run.config["data"], **source}})


def _config(run: LoadedRun, number: int, count: int) -> Config:
    config = run.config
    return {
        **config,
        "audit": {**config.get("audit", {}), "fold": f"{number}/{count}"},
        # One process: another would start this command again.
        "trainer": {**config["trainer"], "devices": 1, "num_nodes": 1, "strategy": "auto"},
        "callbacks": {**config["callbacks"], "progress": None},
        "logger": {},
        "report": {**config["report"], "samples": False},
        "ckpt_path": None,
    }


def _is_finished(folder: RunFolder, config: Config, count: int) -> bool:
    if not folder.record.is_file():
        return False
    record = RunRecord.read(folder.record)
    # The data may have moved since.
    places = {name: config["data"].get(name) for name in config["data"].get(MARKER, ())}
    if not same_job({**record.config, "data": {**record.config["data"], **places}}, config):
        raise UserError(
            f"{folder.path} holds a run of another config or number of folds than {count}; remove {folder.path.parent}, or "
            "ask for as many folds as it has"
        )
    return record.status == "finished"


def _about(run: LoadedRun, config: Config) -> dict[str, Any]:
    record = run.record
    if record is None:
        return {}
    fold = f"+audit.fold={config['audit']['fold']}"
    return {
        "overrides": [*record.overrides, fold],
        "config_dirs": record.config_dirs,
        "choices": record.choices,
        "constants": record.constants,
        "constants_set": record.constants_set,
    }


def _announcement(run: LoadedRun, missing: int, count: int) -> str:
    text = f"training {missing} of {count} runs on {count - 1}/{count} of the labels each"
    seconds = None if run.record is None else run.record.duration_seconds
    if seconds:
        total = missing * seconds * (count - 1) / count
        text += f", about {max(1, round(total / 60)):,} min if this machine is as fast as that of the run"
    return f"{text}; finished ones are kept in {RunFolder(run.folder).folds}"
