"""Co-teaching and Co-teaching+: each of two networks learns from the samples with a small loss under the other."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import sum_ranks
from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.selected import keep_small_losses
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.noise_rate import NeedsNoiseRate


def scheduled_forget_rate(epoch: int, rate: float, ramp_epochs: int, exponent: float = 1.0) -> float:
    """Fraction of a batch that is dropped at an epoch.

    Args:
        epoch: Counted from the start of the ramp, at least 0.
        rate: Final fraction, in [0, 1].
        ramp_epochs: Number of entries of the even ramp from 0 to ``rate ** exponent``; 0 gives ``rate`` at once.
        exponent: c, above 0. With a value other than 1 the ramp does not end at ``rate``; the fraction then jumps to
            it, as in the authors' code.

    Returns:
        In [0, 1].
    """
    if epoch >= ramp_epochs:
        return rate
    return float(np.linspace(0.0, rate**exponent, ramp_epochs)[epoch])


class ForgetsByRate(NeedsNoiseRate):
    """A selector that drops a fraction of each batch, which follows the noise rate; a mixin like ``NeedsNoiseRate``."""

    rate_factor: float
    ramp_epochs: int
    exponent: float

    def take_forget_rate(
        self,
        noise_rate: float | Literal["estimated"],
        rate_factor: float,
        ramp_epochs: int,
        exponent: float,
        estimate_epoch: int,
        seed: int,
    ) -> None:
        """Check and keep the arguments of the constructor; see ``SmallLossExchange``.

        Raises:
            ValueError: If one is outside its range.
        """
        self.take_noise_rate(noise_rate, estimate_epoch, seed)
        largest = 1.0 if isinstance(noise_rate, str) else noise_rate
        if not (rate_factor >= 0.0 and rate_factor * largest <= 1.0):
            raise ValueError(
                f"rate_factor must be at least 0 and leave a forget rate of at most 1, got {rate_factor}; "
                "1 drops as many samples as have noisy labels"
            )
        check_whole_number("ramp_epochs", ramp_epochs, 0, hint="0 is no ramp")
        if not exponent > 0.0:
            raise ValueError(f"exponent must be above 0, got {exponent}; 1 is the authors' choice")
        self.rate_factor = rate_factor
        self.ramp_epochs = ramp_epochs
        self.exponent = exponent

    def forget_rate(self, epoch: int) -> float:
        """Fraction of a batch that is dropped at an epoch of the run, in [0, 1]."""
        known = self.rate_since()
        if known is None:
            return 0.0
        rate, start = known
        return scheduled_forget_rate(epoch - start, self.rate_factor * rate, self.ramp_epochs, self.exponent)

    def inactive_because(self, last: Progress) -> str | None:
        known = self.rate_since()
        if known is None or known[0] == 0.0 or self.forget_rate(last.epoch) > 0.0:
            return super().inactive_because(last)
        if self.rate_factor == 0.0:
            return "rate_factor=0"
        return f"its ramp of {self.ramp_epochs} epochs (ramp_epochs) begins with 0, and the run ended there"


class SmallLossExchange(ForgetsByRate, SampleSelector):
    """Each network m trains on the samples of a batch with the smallest losses under its peer, network m + 1.

    The global batch is ranked, so that several processes select the same samples as one. Among equal losses the sample
    with the smaller index (of the first one, if inputs are mixed) comes first. Before the ramp begins all samples
    count.

    Args:
        num_networks: M, at least 2.
        noise_rate: Fraction of noisy labels, in [0, 1], or ``estimated``: by ``NoiseRateEstimate`` from one scan of the
            training set before ``estimate_epoch``. Until then nothing is dropped, and the ramp begins there.
        rate_factor: The final forget rate is ``rate_factor * noise_rate``. Kthyeon/FINE_official uses 0.9.
        ramp_epochs: T_k, see ``scheduled_forget_rate``.
        exponent: c, see ``scheduled_forget_rate``.
        estimate_epoch: Epoch, from 0, before which the rate is estimated.
        scale_by_kept_fraction: Divide the summed loss of the kept samples by the size of the batch and not by their
            number, as the ALASCA authors' code does without ALASCA.
        seed: Of the estimate.

    Raises:
        ValueError: If a value is outside its range.

    Source: Han et al., NeurIPS 2018, Algorithm 1; bhanML/Co-teaching. Unlike there, the mean is not divided by the
    number of kept samples a second time.

    References:
        Han et al.: Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels. NeurIPS 2018.
        https://arxiv.org/abs/1804.06872
        Code: bhanML/Co-teaching@7c7fbe2, Kthyeon/FINE_official@d5ab341, jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> selector = SmallLossExchange(num_networks=2, noise_rate=0.5, ramp_epochs=0)
        >>> targets = Targets.unmixed(label=torch.zeros(4, dtype=torch.int64), index=torch.arange(4))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> losses = torch.tensor([[0.1, 0.2, 3.0, 4.0], [5.0, 0.3, 0.4, 6.0]])
        >>> selector(losses, [], targets, now)
        tensor([[0., 1., 1., 0.],
                [1., 1., 0., 0.]])
    """

    def __init__(
        self,
        num_networks: int,
        noise_rate: float | Literal["estimated"] = "estimated",
        rate_factor: float = 1.0,
        ramp_epochs: int = 40,
        exponent: float = 1.0,
        estimate_epoch: int = 10,
        scale_by_kept_fraction: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_networks < 2:
            raise ValueError(
                f"networks that teach each other must be at least two, got num_networks={num_networks}; "
                "leave num_networks out, the method sets it to 2"
            )
        self.take_forget_rate(noise_rate, rate_factor, ramp_epochs, exponent, estimate_epoch, seed)
        self.num_networks = num_networks
        self.normalise = "batch" if scale_by_kept_fraction else "selected"

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        kept = keep_small_losses(losses, targets.index[0], self.forget_rate(progress.epoch))
        # Row m becomes the selection of network m + 1.
        return kept.roll(-1, dims=0)


class DisagreementExchange(SmallLossExchange):
    """Co-teaching+: small losses are exchanged among the samples on which the networks disagree only.

    Disagreement keeps the networks apart, which become alike with Co-teaching. Of the n samples of the global batch for
    which not all networks predict the same class, each network m trains on the fraction with the smallest losses under its
    peer; on all n if none would be left. If all networks agree on every sample, nothing is selected.

    Args:
        num_networks: M, at least 2; this and the others as for ``SmallLossExchange``.
        noise_rate: Fraction of noisy labels, or ``estimated``.
        rate_factor: The final forget rate is ``rate_factor * noise_rate``.
        ramp_epochs: T_k.
        exponent: c.
        estimate_epoch: Epoch, from 0, before which the rate is estimated.
        start_epoch: First epoch, from 0, that asks for disagreement; before it is Co-teaching.
        agreed_steps: Steps of the run, from its start, in which a batch without disagreement counts whole. The authors mean
            5,000; by a mistake their count begins anew in each epoch.
        seed: Of the estimate.

    Raises:
        ValueError: If a value is outside its range.

    Source: Yu et al., ICML 2019, algorithm 1; xingruiyu/coteaching_plus. Unlike there, losses are those of the logits and
    not of their softmax, no sample is lost, and the mean is not divided by the number of kept samples a second time.

    References:
        Yu et al.: How does Disagreement Help Generalization against Label Corruption? ICML 2019.
        https://arxiv.org/abs/1901.04215
        Code: xingruiyu/coteaching_plus@a68ed61

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> selector = DisagreementExchange(num_networks=2, noise_rate=0.5, ramp_epochs=0, start_epoch=0)
        >>> targets = Targets.unmixed(label=torch.zeros(3, dtype=torch.int64), index=torch.arange(3))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = [torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])]
        >>> selector(torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.4, 0.2]]), logits, targets, now)
        tensor([[0., 0., 1.],
                [0., 1., 0.]])
    """

    def __init__(
        self,
        num_networks: int,
        noise_rate: float | Literal["estimated"] = "estimated",
        rate_factor: float = 1.0,
        ramp_epochs: int = 10,
        exponent: float = 1.0,
        estimate_epoch: int = 10,
        start_epoch: int = 20,
        agreed_steps: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(num_networks, noise_rate, rate_factor, ramp_epochs, exponent, estimate_epoch, seed=seed)
        check_whole_number("start_epoch", start_epoch, 0)
        check_whole_number("agreed_steps", agreed_steps, 0, hint="0 is never")
        self.start_epoch = start_epoch
        self.agreed_steps = agreed_steps

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        if progress.epoch < self.start_epoch:
            return super().forward(losses, logits, targets, progress)
        predicted = torch.stack([each.argmax(dim=1) for each in logits])
        differ = (predicted != predicted[:1]).any(dim=0)
        if progress.step < self.agreed_steps and not bool(sum_ranks(differ.sum())):
            return torch.ones_like(losses)
        kept = keep_small_losses(losses, targets.index[0], self.forget_rate(progress.epoch), differ)
        return kept.roll(-1, dims=0)
