"""Confidence in each given label: a sharpened moving average over epochs of the network's own predictions."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.schedules import linear_ramp
from alasca_pl.core.types import Progress, Targets

# That are read at once.
_ROWS = 65_536


class LabelConfidence(nn.Module):
    """Confidence in given labels, and the smoothing that follows from it.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        momentum: Fraction of the old average kept at each visit of a sample, the paper's beta, in [0, 1). A sample is
            visited once an epoch, so the average runs over epochs. 0 gives the instantaneous confidence.
        temperature: Logits are divided by it before the softmax, the paper's tau, above 0. Below 1 sharpens.
        ema_on: Average ``logits`` (the authors' code) or ``probs``; probabilities p are sharpened as p^(1/temperature),
            renormalised.
        ramp_epochs: Epochs over which the confidence moves from 1 to its value, so that training starts with plain
            cross-entropy. In the authors' code, not in the paper. 0 switches the ramp off.
        exponent: smoothing = (1 - confidence)^exponent; the paper keeps 1.
        half_table: Store the averages as float16, see ``SampleBuffer``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Algorithm 1, lines 1, 3 and 4 of the ALASCA paper; the ramp is from jongwooko/ALASCA.

    References:
        Ko, Yi and Yun: A Gift from Label Smoothing: Robust Training with Adaptive Label Smoothing via Auxiliary Classifier
        under Label Noise. AAAI 2023. https://arxiv.org/abs/2206.07277
        Code: jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> confidence = LabelConfidence(num_samples=2, num_classes=3)
        >>> confidence.observe(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), index=torch.tensor([0, 1]))
        >>> confidence.of_labels(torch.tensor([0, 1]))
        tensor([0.6362, 0.2587])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        momentum: float = 0.7,
        temperature: float = 1 / 3,
        ema_on: Literal["logits", "probs"] = "logits",
        ramp_epochs: float = 30,
        exponent: float = 1.0,
        half_table: bool = False,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}; 1 leaves the logits as they are")
        if ema_on not in ("logits", "probs"):
            raise ValueError(f"unknown ema_on {ema_on!r}; choose one of logits, probs")
        if not ramp_epochs >= 0:
            raise ValueError(f"ramp_epochs must be at least 0, got {ramp_epochs}; 0 switches the ramp off")
        if not exponent > 0:
            raise ValueError(f"exponent must be above 0, got {exponent}; the paper uses 1")
        self.temperature = temperature
        self.ema_on = ema_on
        self.ramp_epochs = ramp_epochs
        self.exponent = exponent
        self.table = SampleBuffer(num_samples, num_classes, momentum, half=half_table)

    def observe(self, logits: Tensor, index: Tensor) -> None:
        """Fold the predictions of one step into the table.

        Args:
            logits: (B, K), detached.
            index: int64 (B,).
        """
        rows = logits.float()
        self.table.update(rows if self.ema_on == "logits" else F.softmax(rows, dim=1), index)

    def _of_rows(self, rows: Tensor, label: Tensor) -> Tensor:
        # Probabilities enter as logarithms, so both kinds are sharpened by one division. The clamp keeps rows that
        # were never visited (all zeros) finite; they give 1/K, as zero logits do.
        logits = rows if self.ema_on == "logits" else rows.clamp_min(1e-12).log()
        probs = F.softmax(logits / self.temperature, dim=-1)
        return probs.gather(-1, label.unsqueeze(-1)).squeeze(-1)

    def smoothing(self, targets: Targets, progress: Progress) -> Tensor:
        """Return how much mass to move away from each label, float32 in [0, 1], (V, B), without gradient."""
        confidence = self._of_rows(self.table.read(targets), targets.label)
        ramp = linear_ramp(progress.epoch, self.ramp_epochs)
        confidence = ramp * confidence + (1.0 - ramp)
        smoothing = 1.0 - confidence
        return smoothing if self.exponent == 1.0 else smoothing**self.exponent

    def inactive_because(self, last: Progress) -> str | None:
        """Say why no label was smoothed in a run, see ``Part.inactive_because``."""
        if linear_ramp(last.epoch, self.ramp_epochs) > 0.0:
            return None
        return (
            f"its ramp of {self.ramp_epochs:g} epochs (ramp_epochs) begins with 0, and the run ended there, so that no label was "
            "smoothed"
        )

    def of_labels(self, label: Tensor) -> Tensor:
        """Return the confidence in the label of every training sample without ramp, float32 (N,).

        Args:
            label: int64 (N,), in index order.
        """
        rows = self.table.rows
        # In pieces, because in float32 and as probabilities the whole table would take several times its memory.
        pieces = zip(rows.split(_ROWS), label.to(rows.device).split(_ROWS), strict=True)
        return torch.cat([self._of_rows(piece.float(), own) for piece, own in pieces])
