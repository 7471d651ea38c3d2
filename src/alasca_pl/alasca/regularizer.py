"""Penalties on the auxiliary classifiers: ALASCA itself, and uniform smoothing for comparison."""

from typing import Literal

import torch
from torch import Tensor

from alasca_pl.alasca.confidence import LabelConfidence
from alasca_pl.alasca.smoothing import SmoothingTarget, check_smoothing, check_target, smoothed_loss
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.selected import over_selected
from alasca_pl.core.types import Progress, StepView


def _loss_on_heads(view: StepView, smoothing: Tensor, target: SmoothingTarget) -> Tensor:
    """Sum the smoothed loss over all auxiliary heads, (B,)."""
    heads = torch.stack(
        [
            (view.targets.weight * smoothed_loss(logits, view.targets.label, smoothing, target)).sum(dim=0)
            for logits in view.output.aux_logits
        ]
    )
    return heads.sum(dim=0)


class AlascaRegularizer(Regularizer):
    """Adaptive label smoothing on every auxiliary classifier.

    The gradient reaches the backbone: this is what regularizes it. Only given labels are used. By default all samples
    of a batch count, regardless of what a selector keeps for the main loss.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        strength: Factor of the penalty, the paper's lambda.
        momentum: See ``LabelConfidence``; the paper's beta.
        temperature: See ``LabelConfidence``; the paper's tau.
        ema_on: See ``LabelConfidence``.
        ramp_epochs: See ``LabelConfidence``.
        exponent: See ``LabelConfidence``.
        target: Where smoothed mass goes, see ``smoothed_loss``.
        aux_samples: ``all`` samples, as in the authors' code for Co-teaching, or only those ``selected`` for the main loss; the
            mean is then over these.
        shared_ema: Whether several networks share one table, as in the authors' code for Co-teaching; by default each has
            its own. As there, the shared table moves towards network 0's logits and network 0's penalty is taken, before
            network 1 moves the table, and so on.
        half_table: See ``LabelConfidence``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Eq. 2 and Algorithm 1 of the ALASCA paper; defaults from its section 4.1 and jongwooko/ALASCA.

    References:
        Ko, Yi and Yun: A Gift from Label Smoothing: Robust Training with Adaptive Label Smoothing via Auxiliary Classifier
        under Label Noise. AAAI 2023. https://arxiv.org/abs/2206.07277
        Code: jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=60, step=600, max_epochs=120, steps_per_epoch=10)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> output = NetworkOutput(logits, aux_logits=(logits,), features=logits, aux_features=(logits + 1.0,))
        >>> view = StepView(output, targets, base_loss=torch.zeros(2), weight=torch.ones(2), progress=now)
        >>> regularizer = AlascaRegularizer(num_samples=2, num_classes=3)
        >>> regularizer.observe(logits, index=torch.tensor([0, 1]))
        >>> regularizer(view)
        tensor([0.9533, 1.4076])
    """

    needs = frozenset({"aux_logits"})

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        strength: float = 2.0,
        momentum: float = 0.7,
        temperature: float = 1 / 3,
        ema_on: Literal["logits", "probs"] = "logits",
        ramp_epochs: float = 30,
        exponent: float = 1.0,
        target: SmoothingTarget = "others",
        aux_samples: Literal["all", "selected"] = "all",
        shared_ema: bool = False,
        half_table: bool = False,
    ) -> None:
        super().__init__(strength)
        check_target(target)
        if not isinstance(shared_ema, bool):
            raise ValueError(f"shared_ema must be true or false, got {shared_ema!r}")
        if aux_samples not in ("all", "selected"):
            raise ValueError(f"unknown aux_samples {aux_samples!r}; choose one of all, selected")
        self.target: SmoothingTarget = target
        self.aux_samples = aux_samples
        self.shared = shared_ema
        self.label_confidence = LabelConfidence(
            num_samples, num_classes, momentum, temperature, ema_on, ramp_epochs, exponent, half_table
        )

    def observe(self, logits: Tensor, index: Tensor) -> None:
        self.label_confidence.observe(logits, index)

    def confidence(self, label: Tensor) -> Tensor:
        return self.label_confidence.of_labels(label)

    def inactive_because(self, last: Progress) -> str | None:
        return self.label_confidence.inactive_because(last)

    def forward(self, view: StepView) -> Tensor:
        loss = _loss_on_heads(view, self.label_confidence.smoothing(view.targets, view.progress), self.target)
        if self.aux_samples == "all":
            return loss
        return over_selected(loss, view.weight)


class UniformSmoothingOnHeads(Regularizer):
    """Label smoothing of one strength for all samples on every auxiliary classifier: the row ULS + AC of Table 4.

    Args:
        smoothing: Mass moved away from the label, in [0, 1]. The paper does not state its value; 0.1 is the default of
            the authors' code for smoothing on the main head.
        strength: Factor of the penalty, the paper's lambda.
        target: See ``smoothed_loss``.

    References:
        Ko, Yi and Yun: A Gift from Label Smoothing: Robust Training with Adaptive Label Smoothing via Auxiliary Classifier
        under Label Noise. AAAI 2023. https://arxiv.org/abs/2206.07277
        Szegedy et al.: Rethinking the Inception Architecture for Computer Vision. CVPR 2016.
        https://arxiv.org/abs/1512.00567

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=60, step=600, max_epochs=120, steps_per_epoch=10)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> output = NetworkOutput(logits, aux_logits=(logits,), features=logits, aux_features=(logits + 1.0,))
        >>> view = StepView(output, targets, base_loss=torch.zeros(2), weight=torch.ones(2), progress=now)
        >>> UniformSmoothingOnHeads(smoothing=0.1)(view)
        tensor([0.5076, 1.4076])
    """

    needs = frozenset({"aux_logits"})

    def __init__(self, smoothing: float = 0.1, strength: float = 2.0, target: SmoothingTarget = "uniform") -> None:
        super().__init__(strength)
        check_target(target)
        check_smoothing(smoothing)
        self.smoothing = smoothing
        self.target: SmoothingTarget = target

    def inactive_because(self, last: Progress) -> str | None:
        return None if self.smoothing else "smoothing=0"

    def forward(self, view: StepView) -> Tensor:
        return _loss_on_heads(view, torch.full_like(view.targets.weight, self.smoothing), self.target)
