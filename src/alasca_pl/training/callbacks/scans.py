"""Scans of the training set before epochs, for the parts that request them."""

import functools
import logging
import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch

from alasca_pl.core.parts import ScanningPart
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.scan import run_scan

log = logging.getLogger("alasca_pl")


class ScanCallback(L.Callback):
    """Scans the training set before an epoch if a part requests it.

    Needs a data module with ``eval_batches("train")`` and ``noisy_labels``, of which only the observed ones are used.
    Must come before callbacks that measure. A run that is resumed within an epoch keeps the selection of that epoch,
    which is part of the checkpoint.

    Attributes:
        seconds: Duration of the latest scan and of the computations from it; not a metric, because the metrics of a run
            and of its repetition must be equal.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        end = trainer.max_epochs or 0
        for slot, part, number in pl_module.method.scanning():
            first = part.first_scan(Progress(0, 0, end, 1)) if not number else None
            if first is not None and first >= end and trainer.is_global_zero:
                option = f"{slot}.{part.first_scan_option}" if part.first_scan_option else f"the {slot}'s own schedule"
                log.warning(
                    "%s first scans the training set before epoch %d, but the run ends after epoch %d, so that it will "
                    "not act; lower %s or train longer",
                    type(part).__name__,
                    first + 1,
                    end,
                    option,
                )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        progress = pl_module.progress()
        # Requests depend on progress alone, so that either all ranks take part in a scan or none does.
        union = ScanRequest()
        asking: list[tuple[ScanningPart, int | None]] = []
        for _, part, number in pl_module.method.scanning():
            request = part.scan_request(progress)
            if request is not None:
                asking.append((part, number))
                union = union.union(request)
        if not asking:
            return
        start = time.monotonic()
        result = scan_training_set(trainer, pl_module, union)
        scanned = time.monotonic()
        for part, number in asking:
            part.receive_scan(result if number is None else result.of_network(number), progress)
        end = time.monotonic()
        self.seconds = end - start
        if trainer.is_global_zero:
            text = "epoch %d: scanned %d training samples in %.1f s, evaluated the scan in %.1f s"
            log.info(text, progress.epoch + 1, len(result.label), scanned - start, end - scanned)


def scan_training_set(trainer: L.Trainer, module: NoisyLabelModule, request: ScanRequest) -> ScanResult:
    """Scan the training set of a run, see ``run_scan``; every rank must call it."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    label = torch.from_numpy(data.noisy_labels.label)
    return run_scan(
        list(module.method.networks),
        data.eval_batches("train"),
        label,
        request,
        len(label),
        trainer.precision_plugin.forward_context,
        functools.partial(_pixels, mean=module.facts.mean, std=module.facts.std),
    )


def _pixels(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Undo the normalisation of images (B, C, H, W)."""
    scale, shift = (image.new_tensor(values).view(1, -1, 1, 1) for values in (std, mean))
    return image * scale + shift
