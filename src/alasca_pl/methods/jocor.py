"""JoCoR: two networks with one joint loss learn to agree, both from the samples on which that loss is small."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Regularizer, SampleSelector
from alasca_pl.core.selected import keep_small_losses, over_selected
from alasca_pl.core.types import Progress, StepView, Targets
from alasca_pl.methods.co_teaching import ForgetsByRate
from alasca_pl.methods.cross_entropy import CrossEntropy


def symmetric_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Return ``KL(p || q) + KL(q || p)`` of the predictions p and q of two networks.

    Args:
        logits: (B, K).
        other: (B, K).

    Returns:
        (B,), at least 0. No gradient is stopped.

    Example:
        >>> import torch
        >>> symmetric_divergence(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.5, 1.5, 0.0]]))
        tensor([0.8429])
    """
    log_p, log_q = (F.log_softmax(full_precision(each), dim=1) for each in (logits, other))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1)


def _check_agreement(agreement: float, num_networks: int) -> None:
    if not 0.0 <= agreement <= 1.0:
        raise ValueError(f"agreement must lie in [0, 1], got {agreement}; 0 lets the networks differ as they like")
    if num_networks < 2:
        raise ValueError(
            f"networks that shall agree must be at least two, got num_networks={num_networks}; "
            "leave num_networks out, the method sets it to 2"
        )


class JointCrossEntropy(CrossEntropy):
    """``(1 - agreement) * CE``, one network's share of the joint loss without the divergence.

    Args:
        num_networks: M, at least 2.
        agreement: lambda, in [0, 1]; the same value belongs to ``Agreement`` and ``JointSmallLoss``.

    Raises:
        ValueError: If a value is outside its range.

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0]), index=torch.tensor([0]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> JointCrossEntropy(num_networks=2, agreement=0.5)(torch.tensor([[2.0, 1.0, 0.0]]), targets, now)
        tensor([0.2038])
    """

    def __init__(self, num_networks: int, agreement: float = 0.9) -> None:
        _check_agreement(agreement, num_networks)
        super().__init__(scale=1.0 - agreement)


class Agreement(Regularizer):
    """One network's half of the divergence between its prediction and its peers', averaged over the selected samples.

    The gradient reaches both networks of a pair, so that the penalties of all networks sum up to
    ``KL(p1 || p2) + KL(p2 || p1)``; with more than two networks to the sum over all pairs.

    Args:
        strength: lambda, in [0, 1]; 0 switches the penalty off.

    Raises:
        ValueError: If ``strength`` is outside its range.

    Source: Wei et al., CVPR 2020, equations 3 and 4; hongxin001/JoCoR.

    References:
        Wei, Feng, Chen and An: Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization. CVPR
        2020. https://arxiv.org/abs/2003.02752
        Code: hongxin001/JoCoR@86db359

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0]), index=torch.tensor([0]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> one, other = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.5, 1.5, 0.0]])
        >>> output, peer = (NetworkOutput(logits, aux_logits=(), features=logits) for logits in (one, other))
        >>> view = StepView(output, targets, torch.zeros(1), weight=torch.ones(1), progress=now, peers=(peer,))
        >>> Agreement()(view)
        tensor([0.4215])
    """

    def __init__(self, strength: float = 0.9) -> None:
        super().__init__(strength)
        if strength > 1.0:
            raise ValueError(f"strength must be at most 1, got {strength}; cross-entropy has the rest of the weight 1")

    def forward(self, view: StepView) -> Tensor:
        penalty = torch.zeros_like(view.base_loss)
        for peer in view.peers:
            penalty = penalty + 0.5 * symmetric_divergence(view.output.logits, peer.logits)
        return over_selected(penalty, view.weight)


class JointSmallLoss(ForgetsByRate, SampleSelector):
    """All networks train on the samples of a batch with the smallest joint losses.

    The joint loss of a sample is the sum of the networks' base losses, ``(1 - agreement) * CE`` each, and ``agreement``
    times the divergence of each pair of networks. The global batch is ranked; among equal losses the smaller index of the
    sample comes first. Before the ramp begins everything counts. If inputs are mixed, the divergence is that of the
    predictions for the unmixed samples.

    Args:
        num_networks: M, at least 2.
        agreement: lambda, in [0, 1].
        noise_rate: Fraction of noisy labels, in [0, 1], or ``estimated``: by ``NoiseRateEstimate`` from one scan of the
            training set before ``estimate_epoch``. Until then nothing is dropped, and the ramp begins there.
        rate_factor: The final forget rate is ``rate_factor * noise_rate``. For a nominal rate of asymmetric noise, which
            half of the classes have, hongxin001/JoCoR uses 0.5.
        ramp_epochs: T_k, see ``alasca_pl.methods.co_teaching.scheduled_forget_rate``.
        exponent: c, see there.
        estimate_epoch: Epoch, from 0, before which the rate is estimated.
        seed: Of the estimate.

    Raises:
        ValueError: If a value is outside its range.

    Source: Wei et al., CVPR 2020, algorithm 1; hongxin001/JoCoR.

    References:
        Wei, Feng, Chen and An: Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization. CVPR
        2020. https://arxiv.org/abs/2003.02752
        Code: hongxin001/JoCoR@86db359

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> selector = JointSmallLoss(num_networks=2, agreement=0.5, noise_rate=0.5, ramp_epochs=0)
        >>> targets = Targets.unmixed(label=torch.zeros(2, dtype=torch.int64), index=torch.arange(2))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = [torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [1.0, 0.0]])]
        >>> selector(torch.tensor([[0.0, 0.2], [0.1, 0.2]]), logits, targets, now)
        tensor([[0., 1.],
                [0., 1.]])
    """

    def __init__(
        self,
        num_networks: int,
        agreement: float = 0.9,
        noise_rate: float | Literal["estimated"] = "estimated",
        rate_factor: float = 1.0,
        ramp_epochs: int = 10,
        exponent: float = 1.0,
        estimate_epoch: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_agreement(agreement, num_networks)
        self.take_forget_rate(noise_rate, rate_factor, ramp_epochs, exponent, estimate_epoch, seed)
        self.agreement = agreement

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        joint = losses.sum(dim=0)
        for number, one in enumerate(logits):
            for other in logits[number + 1 :]:
                joint = joint + self.agreement * symmetric_divergence(one, other)
        kept = keep_small_losses(joint.unsqueeze(0), targets.index[0], self.forget_rate(progress.epoch))
        return kept.expand_as(losses)
