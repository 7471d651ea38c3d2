"""Label smoothing on the main head, uniform and adaptive: the rows ULS, ALS and ALS + EMA of Table 4."""

from typing import Literal

import torch
from torch import Tensor

from alasca_pl.alasca.confidence import LabelConfidence
from alasca_pl.alasca.smoothing import SmoothingTarget, check_smoothing, check_target, smoothed_loss
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class UniformLabelSmoothing(Criterion):
    """Cross-entropy with the same smoothing for all samples.

    Args:
        smoothing: Mass moved away from the label, in [0, 1].
        target: See ``smoothed_loss``; ``uniform`` is standard label smoothing.

    References:
        Szegedy et al.: Rethinking the Inception Architecture for Computer Vision. CVPR 2016.
        https://arxiv.org/abs/1512.00567
        Code: jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> UniformLabelSmoothing(smoothing=0.1)(logits, targets, now)
        tensor([0.5076, 1.4076])
    """

    def __init__(self, smoothing: float = 0.1, target: SmoothingTarget = "uniform") -> None:
        super().__init__()
        check_target(target)
        check_smoothing(smoothing)
        self.smoothing = smoothing
        self.target: SmoothingTarget = target

    def inactive_because(self, last: Progress) -> str | None:
        return None if self.smoothing else "smoothing=0"

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        smoothing = torch.full_like(targets.weight, self.smoothing)
        return (targets.weight * smoothed_loss(logits, targets.label, smoothing, self.target)).sum(dim=0)


class AdaptiveLabelSmoothing(Criterion):
    """Cross-entropy smoothed by 1 - confidence in each label.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        momentum: 0 gives the instantaneous confidence (ALS); above 0 the moving average over epochs (ALS + EMA).
        temperature: See ``LabelConfidence``.
        ema_on: See ``LabelConfidence``.
        ramp_epochs: See ``LabelConfidence``; 60 in jongwooko/ALASCA for smoothing on the main head.
        exponent: See ``LabelConfidence``.
        target: See ``smoothed_loss``; the authors' code spreads over all classes on the main head.

    Source: Eq. 2 of the ALASCA paper on the main head; the authors' class for it does not run, so training details
    follow the formulas.

    References:
        Ko, Yi and Yun: A Gift from Label Smoothing: Robust Training with Adaptive Label Smoothing via Auxiliary Classifier
        under Label Noise. AAAI 2023. https://arxiv.org/abs/2206.07277
        Code: jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> criterion = AdaptiveLabelSmoothing(num_samples=2, num_classes=3, ramp_epochs=0)
        >>> criterion.observe(logits, index=torch.tensor([0, 1]))
        >>> criterion.confidence(label=torch.tensor([0, 1]))
        tensor([0.6652, 0.2447])
        >>> criterion(logits, targets, now)
        tensor([0.7424, 1.4076])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        momentum: float = 0.0,
        temperature: float = 1.0,
        ema_on: Literal["logits", "probs"] = "logits",
        ramp_epochs: float = 60,
        exponent: float = 1.0,
        target: SmoothingTarget = "uniform",
        half_table: bool = False,
    ) -> None:
        super().__init__()
        check_target(target)
        self.target: SmoothingTarget = target
        self.label_confidence = LabelConfidence(
            num_samples, num_classes, momentum, temperature, ema_on, ramp_epochs, exponent, half_table
        )

    def observe(self, logits: Tensor, index: Tensor) -> None:
        self.label_confidence.observe(logits, index)

    def confidence(self, label: Tensor) -> Tensor:
        return self.label_confidence.of_labels(label)

    def inactive_because(self, last: Progress) -> str | None:
        return self.label_confidence.inactive_because(last)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        smoothing = self.label_confidence.smoothing(targets, progress)
        return (targets.weight * smoothed_loss(logits, targets.label, smoothing, self.target)).sum(dim=0)
