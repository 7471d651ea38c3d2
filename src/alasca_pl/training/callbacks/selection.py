"""Looks at the training set before epochs for the parts that ask, and counts how good a selection was."""

import logging
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks
from alasca_pl.core.parts import ScanningPart
from alasca_pl.core.scan import ScanRequest
from alasca_pl.core.types import Progress
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.scan import run_scan

log = logging.getLogger("alasca_pl")


class SelectionRefresh(L.Callback):
    """Before an epoch passes once over the training set if a selector or gradient transform asks for it.

    Needs a data module with ``eval_batches("train")`` and ``noisy_labels``, of which only the observed ones are used.
    Must come before callbacks that measure. A run that is resumed within an epoch keeps the selection of that epoch,
    which is part of the checkpoint.

    Attributes:
        seconds: What the latest look took with all that was made of it; not a metric, because the metrics of a run and
            of its repetition are equal.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        end = trainer.max_epochs or 0
        for slot in ("selector", "gradient_transform"):
            part: ScanningPart | None = getattr(pl_module.parts, slot)
            first = None if part is None else _first_look(part, end)
            if part is not None and first is not None and first >= end and trainer.is_global_zero:
                option = f"{slot}.{part.first_look}" if part.first_look else f"the {slot}'s own schedule"
                log.warning(
                    "%s first looks at the training set before epoch %d, but the run ends after epoch %d, so that it will "
                    "not act; lower %s or train longer",
                    type(part).__name__,
                    first + 1,
                    end,
                    option,
                )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        progress = pl_module.progress()
        # Requests depend on progress alone, so that all ranks take part in a look or none does.
        union = ScanRequest()
        asking: list[ScanningPart] = []
        for part in (pl_module.parts.selector, pl_module.parts.gradient_transform):
            request = None if part is None else part.scan(progress)
            if part is not None and request is not None:
                asking.append(part)
                union = union.union(request)
        if not asking:
            return
        start = time.monotonic()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        label = torch.from_numpy(data.noisy_labels.label)
        result = run_scan(
            list(pl_module.parts.networks),
            data.eval_batches("train"),
            label,
            union,
            len(label),
            trainer.precision_plugin.forward_context,
        )
        looked = time.monotonic()
        for each in asking:
            each.refresh(result, progress)
        end = time.monotonic()
        self.seconds = end - start
        if trainer.is_global_zero:
            text = "epoch %d: looked at %d training samples in %.1f s, selected in %.1f s"
            log.info(text, progress.epoch + 1, len(label), looked - start, end - looked)


def _first_look(part: ScanningPart, max_epochs: int) -> int | None:
    """First epoch, also beyond the run's end, at which a part, as it is now, would ask for a look; None if it asks for none."""
    at = (Progress(epoch, 0, max_epochs, 1) for epoch in range(max_epochs + 1000))
    return next((progress.epoch for progress in at if part.scan(progress) is not None), None)


class SelectionCounts:
    """Counts over an epoch what was selected and what of it was clean, equal on all ranks and fit for a checkpoint."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def add(self, selected: Tensor, clean: Tensor) -> None:
        """Add a batch; every rank must call it.

        Args:
            selected: Bool (M, B), this rank's part of the batch.
            clean: Bool (B,), whether the given label is the true one.
        """
        # Both, selected, clean, all: everything else follows from these.
        counts = torch.stack(
            [
                (selected & clean).sum(dim=1),
                selected.sum(dim=1),
                clean.sum().expand(len(selected)),
                torch.full((len(selected),), len(clean), device=clean.device),
            ],
            dim=1,
        )
        counts = sum_ranks(counts)
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def take(self) -> dict[str, float]:
        """Return the metrics of the epoch, per network and their mean, and start anew; empty if nothing was added."""
        if self._counts is None:
            return {}
        each = [selection_quality(*(int(value) for value in row)) for row in self._counts]
        self._counts = None
        metrics = {f"select/{name}": sum(one[name] for one in each) / len(each) for name in each[0]}
        if len(each) > 1:
            metrics |= {f"select/{name}/{number}": one[name] for number, one in enumerate(each) for name in one}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._counts = state["counts"]


def selection_quality(both: int, selected: int, clean: int, total: int) -> dict[str, float]:
    """Say how well a selection finds clean samples, and how well what it leaves out are wrong ones.

    Args:
        both: Number of samples that are selected and clean.
        selected: Number of selected samples.
        clean: Number of clean samples.
        total: Number of samples.

    Returns:
        ``precision``, ``recall`` and ``f1`` with clean samples as positives, the same with ``noisy_`` in front with wrong
        ones as positives, and ``rate``, the share that is selected. A ratio of nothing is 0.
    """
    wrong_left_out = total - selected - clean + both
    quality = {"rate": _ratio(selected, total)}
    for prefix, hits, found, wanted in (
        ("", both, selected, clean),
        ("noisy_", wrong_left_out, total - selected, total - clean),
    ):
        quality[f"{prefix}precision"] = _ratio(hits, found)
        quality[f"{prefix}recall"] = _ratio(hits, wanted)
        # The harmonic mean of both ratios, which is 0 where one of them is.
        quality[f"{prefix}f1"] = _ratio(2 * hits, found + wanted)
    return quality


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
