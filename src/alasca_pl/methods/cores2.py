"""CORES2: cross-entropy that rewards confidence, and a sieve that drops labels which the network finds unlikely."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion, GradientTransform, SampleSelector, not_begun
from alasca_pl.core.types import Progress, Targets

# Bounds the cost of a class by 18.42.
_EPS = 1e-8
# The cost of a uniform prediction and the mean of its equal costs may differ by rounding.
_ROUNDING = 1e-6


def ramped_strength(epoch: int, strength: float, start_epoch: int, ramp_epochs: int) -> float:
    """Return beta at an epoch: 0, then ``ramp_epochs`` even steps from 0 to ``strength``, then ``strength``.

    Example:
        >>> [round(ramped_strength(epoch, 2.0, start_epoch=10, ramp_epochs=30), 6) for epoch in (9, 10, 11, 39, 40)]
        [0.0, 0.0, 0.068966, 2.0, 2.0]
    """
    if epoch < start_epoch:
        return 0.0
    if epoch - start_epoch >= ramp_epochs:
        return strength
    return float(np.linspace(0.0, strength, ramp_epochs)[epoch - start_epoch])


def _not_begun(last: Progress, strength: float, start_epoch: int, ramp_epochs: int) -> str | None:
    """Why beta was 0 in all epochs of a run, or None."""
    if ramped_strength(last.epoch, strength, start_epoch, ramp_epochs) > 0.0:
        return None
    if strength == 0.0:
        return "strength=0"
    ramp = f" with 0, of {ramp_epochs} epochs (ramp_epochs)" if ramp_epochs else ""
    return (
        f"its ramp{ramp} begins with epoch {start_epoch + 1} (start_epoch), the run ended with epoch {last.epoch + 1}"
    )


def _check_ramp(strength: float, start_epoch: int, ramp_epochs: int) -> None:
    if not strength >= 0:
        raise ValueError(f"strength must be at least 0, got {strength}; 0 is plain cross-entropy")
    check_whole_number("start_epoch", start_epoch, 0)
    check_whole_number("ramp_epochs", ramp_epochs, 0, hint="0 is no ramp")


class ConfidentCrossEntropy(Criterion):
    """Cross-entropy minus beta times its mean over labels drawn from a prior.

    ``CE_y - beta * sum_k h_k c_k`` with ``c_k = -log(p_k + 1e-8)``. The second term is lowest for confident predictions, of
    any class. The prior h is the histogram of the given labels. With beta above 1 the loss may be negative.

    Args:
        class_counts: Samples of each class by given label.
        strength: beta at the end of its ramp, at least 0.
        start_epoch: Epoch, from 0, at which the ramp begins.
        ramp_epochs: Number of even steps of the ramp from 0 to ``strength``; 0 is no ramp.

    Raises:
        ValueError: If a value is outside its range.

    Source: Cheng et al., ICLR 2021, equation 3; haochenglouis/cores, loss.py. Unlike there, the prior is not that of the
    samples that stayed in the last epoch; on balanced data both are nearly uniform.

    References:
        Cheng et al.: Learning with Instance-Dependent Label Noise: A Sample Sieve Approach. ICLR 2021.
        https://arxiv.org/abs/2010.02347
        Code: haochenglouis/cores@cf0945e

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=40, step=0, max_epochs=100, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> ConfidentCrossEntropy(class_counts=(5, 5, 5))(logits, targets, now)
        tensor([-2.4076, -1.4076])
    """

    prior: Tensor

    def __init__(
        self, class_counts: Sequence[int], strength: float = 2.0, start_epoch: int = 10, ramp_epochs: int = 30
    ) -> None:
        super().__init__()
        _check_ramp(strength, start_epoch, ramp_epochs)
        self.strength = strength
        self.start_epoch = start_epoch
        self.ramp_epochs = ramp_epochs
        counts = torch.tensor([float(count) for count in class_counts])
        self.register_buffer("prior", counts / counts.sum(), persistent=False)

    def inactive_because(self, last: Progress) -> str | None:
        return _not_begun(last, self.strength, self.start_epoch, self.ramp_epochs)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = full_precision(logits).log_softmax(dim=1)
        loss = -over_labels(log_probs, targets)
        beta = ramped_strength(progress.epoch, self.strength, self.start_epoch, self.ramp_epochs)
        if beta == 0.0:
            return loss
        return loss + beta * (log_probs.exp() + _EPS).log() @ self.prior.to(log_probs)


class ConfidenceSieve(SampleSelector):
    """Keeps samples whose given label costs at most as much as the mean over all labels.

    A label is kept if its probability is at least the geometric mean of all probabilities, so that the predicted class and
    any label of a uniform prediction are. A mixed row is judged by the weighted mean of the costs of its labels.

    Args:
        start_epoch: First epoch, from 0, that sieves.

    Raises:
        ValueError: If ``start_epoch`` is outside its range.

    Source: Cheng et al., ICLR 2021, equation 4; haochenglouis/cores, loss.py.

    References:
        Cheng et al.: Learning with Instance-Dependent Label Noise: A Sample Sieve Approach. ICLR 2021.
        https://arxiv.org/abs/2010.02347
        Code: haochenglouis/cores@cf0945e

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1, 2]), index=torch.arange(3))
        >>> now = Progress(epoch=31, step=0, max_epochs=100, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]]).expand(3, 3)
        >>> ConfidenceSieve()(torch.zeros(1, 3), [logits], targets, now)
        tensor([[1., 1., 0.]])
    """

    def __init__(self, start_epoch: int = 31) -> None:
        super().__init__()
        check_whole_number("start_epoch", start_epoch, 0)
        self.start_epoch = start_epoch

    def inactive_because(self, last: Progress) -> str | None:
        return not_begun(self.start_epoch, last)

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        if progress.epoch < self.start_epoch:
            return torch.ones_like(losses)
        rows = []
        for each in logits:
            log_probs = (full_precision(each).softmax(dim=1) + _EPS).log()
            own = over_labels(log_probs, targets)
            rows.append(own >= log_probs.mean(dim=1) - _ROUNDING)
        return torch.stack(rows).to(losses.dtype)


class GradientOverStrength(GradientTransform):
    """Divides all gradients by ``1 + beta``, because a loss with beta above 1 has no lower bound.

    The authors divide the learning rate, which is the same for SGD without momentum and weight decay.

    Args:
        strength: beta at the end of its ramp; this and the others as for ``ConfidentCrossEntropy``.
        start_epoch: Epoch, from 0, at which the ramp begins.
        ramp_epochs: Number of even steps of the ramp.

    Raises:
        ValueError: If a value is outside its range.

    Source: haochenglouis/cores, phase1.py.

    References:
        Cheng et al.: Learning with Instance-Dependent Label Noise: A Sample Sieve Approach. ICLR 2021.
        https://arxiv.org/abs/2010.02347
        Code: haochenglouis/cores@cf0945e

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 6.0])
        >>> now = Progress(epoch=40, step=0, max_epochs=100, steps_per_epoch=5)
        >>> GradientOverStrength()([weight], now)
        >>> weight.grad
        tensor([1., 2.])
    """

    def __init__(self, strength: float = 2.0, start_epoch: int = 10, ramp_epochs: int = 30) -> None:
        super().__init__()
        _check_ramp(strength, start_epoch, ramp_epochs)
        self.strength = strength
        self.start_epoch = start_epoch
        self.ramp_epochs = ramp_epochs

    def inactive_because(self, last: Progress) -> str | None:
        return _not_begun(last, self.strength, self.start_epoch, self.ramp_epochs)

    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        beta = ramped_strength(progress.epoch, self.strength, self.start_epoch, self.ramp_epochs)
        for parameter in parameters if beta else ():
            if parameter.grad is not None:
                parameter.grad.div_(1.0 + beta)
