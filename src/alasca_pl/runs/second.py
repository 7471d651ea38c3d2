"""Second scores of a run's labels: computed, and kept in its folder."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from alasca_pl.audit.second import CLEANLAB, FINE, Array, SecondScores, check_tools, cleanlab_scores, names_from
from alasca_pl.build.make import make
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.scan import ScanRequest
from alasca_pl.core.types import Progress
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.runs.folds import mean_probs, out_of_fold_probs, scan
from alasca_pl.runs.load import LoadedRun, open_checkpoint
from alasca_pl.runs.stored import data_of

log = logging.getLogger(__name__)

_FINE = {
    "_target_": "alasca_pl.methods.fine.FineSelector",
    "warmup_epochs": 0,
    "every": 1,
    "phase": 0,
    "reference": "all",
}


def known_second(folder: RunFolder) -> SecondScores:
    """Second scores that a run's folder holds for the present evidence."""
    return SecondScores.load(folder.second, _digest(folder))


def second_scores(
    folder: RunFolder,
    tools: Sequence[str],
    folds: int = 0,
    source: dict[str, Any] | None = None,
    device: torch.device | None = None,
    trust: bool = False,
    say: Callable[[str], None] = log.info,
) -> SecondScores:
    """Compute scores that are not known yet, and keep them in the run's folder.

    Probabilities and features are not kept: they take a pass over the images, which is short beside the training.

    Args:
        folder: The run's folder.
        tools: Some of ``audit.second.TOOLS``.
        folds: Number of folds for out-of-fold probabilities beside those of the final network; 0 for none. They train a
            network per fold, see ``train_folds``.
        source: See ``data_of``.
        device: Where predictions are made; the CPU by default.
        trust: See ``load_run``.
        say: Told what takes long.

    Returns:
        The scores that were asked for.

    Raises:
        UserError: If a tool is unknown or not installed.
    """
    check_tools(tools, folds)
    asked = [name for tool in tools for name in names_from(tool)]
    asked += [name for tool in tools for name in names_from(tool, folds) if folds and tool == CLEANLAB]
    known = known_second(folder)
    if set(asked) - set(known.names()):
        run = open_checkpoint(folder.last, trust)
        data = data_of(run, source)
        place = device or torch.device("cpu")
        for tool in tools:
            if set(names_from(tool)) - set(known.names()):
                known = known.joined(_of_final(tool, run, data, place))
        if folds and CLEANLAB in tools and set(names_from(CLEANLAB, folds)) - set(known.names()):
            probs = out_of_fold_probs(run, data, folds, place, source, trust, say)
            scores, count = cleanlab_scores(data.prepared.labels["train"], probs, folds)
            known = known.joined(SecondScores({"train": scores}, {"train": {folds: count}}))
            if "val" in known.scores:
                # No network has seen these labels, so that the final one is right for them.
                values = (known.scores["val"][name] for name in names_from(CLEANLAB))
                scores = dict(zip(names_from(CLEANLAB, folds), values))
                known = known.joined(SecondScores({"val": scores}, {"val": {folds: known.counts["val"][0]}}))
        known.save(folder.second, _digest(folder))
    return known.only(asked)


def _digest(folder: RunFolder) -> str:
    """What second scores belong to: they are computed anew for other evidence."""
    return hashlib.sha256(folder.samples.read_bytes()).hexdigest()


def _of_final(tool: str, run: LoadedRun, data: NoisyDataModule, device: torch.device) -> SecondScores:
    if tool == FINE:
        return SecondScores({"train": {FINE: _fine(run, data, device)}})
    found = SecondScores()
    for split in ("train", "val"):
        if split in data.prepared.splits:
            label = data.prepared.labels[split]
            probs = mean_probs(scan(run, data, split, ScanRequest(probs=True), device))
            scores, count = cleanlab_scores(label, probs)
            found = found.joined(SecondScores({split: scores}, {split: {0: count}}))
    return found


def _fine(run: LoadedRun, data: NoisyDataModule, device: torch.device) -> Array:
    label = torch.from_numpy(data.prepared.labels["train"])
    networks = len(run.module.method.networks)
    offers = {"num_samples": len(label), "num_classes": data.facts.num_classes, "num_networks": networks}
    part = make(_FINE, **offers, seed=run.config["seed"])
    part.receive_scan(scan(run, data, "train", ScanRequest(features=True), device), Progress(0, 0, 1, 1))
    confidence = part.confidence(label)
    return 1.0 - np.asarray(confidence.double().mean(dim=0).numpy(), dtype=np.float64)
