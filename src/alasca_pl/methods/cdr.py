"""CDR: only the parameters that are critical for fitting clean labels follow the gradient."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.parts import GradientTransform
from alasca_pl.core.schedules import linear_ramp
from alasca_pl.core.types import Progress
from alasca_pl.methods.noise_rate import NeedsNoiseRate


class CriticalParameters(NeedsNoiseRate, GradientTransform):
    """Keep and scale down the gradient of the weights with the largest ``|weight * gradient|``; set the others to zero.

    The fraction ``1 - noise_rate`` of all weights of linear and convolution layers is kept, and their gradient is
    multiplied by the same number. Weights that tie with the smallest kept one are kept too. The others change only by
    weight decay and momentum. Biases and normalisation layers are not affected.

    Args:
        noise_rate: Fraction of noisy labels, in [0, 1], or ``estimated``: by ``NoiseRateEstimate`` from one scan of the
            training set before ``estimate_epoch``, and 0 until then.
        gradual: Decrease the kept fraction linearly from 1 in the first epoch to ``1 - noise_rate`` in the last of
            ``gradual_epochs``, as the authors describe; their code keeps it constant.
        gradual_epochs: Epochs of this decrease, at least 1, from the start or from the estimate.
        estimate_epoch: Epoch, from 0, before which the rate is estimated.
        seed: Of the estimate.

    Raises:
        ValueError: If a value is outside its range.

    Source: Xia et al., ICLR 2021; xiaoboxia/CDR.

    References:
        Xia et al.: Robust Early-learning: Hindering the Memorization of Noisy Labels. ICLR 2021.
        https://openreview.net/forum?id=Eql5b1_hTE4
        Code: xiaoboxia/CDR@6665a8b

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress
        >>> weight = torch.nn.Parameter(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
        >>> weight.grad = torch.ones(1, 4)
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> CriticalParameters(noise_rate=0.5)([weight], now)
        >>> weight.grad
        tensor([[0.5000, 0.5000, 0.0000, 0.0000]])
    """

    def __init__(
        self,
        noise_rate: float | Literal["estimated"] = "estimated",
        gradual: bool = False,
        gradual_epochs: int = 20,
        estimate_epoch: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.take_noise_rate(noise_rate, estimate_epoch, seed)
        check_whole_number("gradual_epochs", gradual_epochs, 1, hint="or choose gradual=false")
        self.gradual = gradual
        self.gradual_epochs = gradual_epochs

    def kept_fraction(self, epoch: int) -> float:
        """Fraction of the weights that follow their gradient at an epoch of the run, in [0, 1]."""
        known = self.rate_since()
        if known is None:
            return 1.0
        rate, start = known
        # The decrease has as many steps as there are epochs between the first and the last.
        return 1.0 - rate * (linear_ramp(epoch - start, self.gradual_epochs - 1) if self.gradual else 1.0)

    def inactive_because(self, last: Progress) -> str | None:
        if self.rate_since() is not None and self.kept_fraction(last.epoch) == 1.0:
            return super().inactive_because(last) or (
                f"its decrease over {self.gradual_epochs} epochs (gradual_epochs) begins with 0, and the run ended there"
            )
        return super().inactive_because(last)

    @torch.no_grad()
    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        fraction = self.kept_fraction(progress.epoch)
        weights = [each for each in parameters if each.ndim in (2, 4) and each.grad is not None]
        if fraction == 1.0 or not weights:
            return
        gradients = [each.grad for each in weights if each.grad is not None]
        importance = [(each * gradient).abs() for each, gradient in zip(weights, gradients)]
        flat = torch.cat([each.flatten() for each in importance])
        # 0.1 * 10 computed as (1 - 0.9) * 10 lies just below 1.
        count = int(fraction * len(flat) + 1e-9)
        if count == 0:
            for gradient in gradients:
                gradient.zero_()
            return
        # By topk and not kthvalue, which has no deterministic form on GPUs.
        threshold = torch.topk(flat, count, sorted=False).values.min()
        for gradient, each in zip(gradients, importance):
            # A product, so that a gradient that is NaN stays NaN and is detected later.
            gradient.mul_((each >= threshold).to(gradient.dtype) * fraction)
