"""UNICON: in each class the same number of samples whose labels diverge least from what the networks predict together."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.parts import RefreshedSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.promix import smallest_of_class


def label_divergence(probs: Tensor, label: Tensor) -> Tensor:
    """Compute the Jensen-Shannon divergence between predictions and given labels, in nats.

    It depends on the probability p of the label only: log 2 + (p log p - (1 + p) log(1 + p)) / 2.

    Args:
        probs: (N, K).
        label: int64 (N,).

    Returns:
        (N,), from 0 for a label that is certain to log 2 for one that is impossible.

    Example:
        >>> import torch
        >>> label_divergence(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), label=torch.tensor([0, 0, 0]))
        tensor([0.0000, 0.2158, 0.6931])
    """
    own = probs.gather(1, label.unsqueeze(1)).squeeze(1)
    # Rounding may lead below 0.
    return (math.log(2.0) + (torch.xlogy(own, own) - (1.0 + own) * own.log1p()) / 2.0).clamp_min(0.0)


def divergence_threshold(divergence: Tensor, largest: float, divisor: float) -> Tensor:
    """Compute the divergence below which samples are counted: the mean, lowered towards the smallest if it is large.

    Args:
        divergence: (N,).
        largest: d_mu, a mean above it is lowered.
        divisor: tau, by 1 / tau of its distance from the smallest divergence.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> divergence = torch.tensor([0.6, 0.9, 0.9])
        >>> divergence_threshold(divergence, 0.9, 5.0), divergence_threshold(divergence, 0.7, 5.0)
        (tensor(0.8000), tensor(0.7600))
    """
    mean = divergence.mean()
    return mean - (mean - divergence.min()) / divisor if mean > largest else mean


class UniformSelector(RefreshedSelector):
    """Keeps in each class the same number of samples, those whose labels diverge least from the mean prediction of all networks.

    Before each epoch from ``warmup_epochs`` on, the samples with a divergence below a threshold are counted; each class gets an
    equal part of their number, rounded down. Until then all samples are kept. For ``MixMatchStep`` it also tells how far a kept
    label is trusted: fully if the divergence is below ``trusted``, else by 1 minus the divergence.

    In nats a divergence is at most 0.693. The mean then never exceeds the authors' ``largest``, 0.7, and is the threshold, as in
    their code; in bits, up to 1, it may be lowered.

    Args:
        num_samples: N.
        num_classes: K.
        num_networks: M; all networks have the same selection.
        warmup_epochs: Epochs before the first choice.
        largest: d_mu of the threshold, see ``divergence_threshold``.
        divisor: tau of the threshold, at least 1.
        trusted: Divergence below which a kept label is not refined.
        unit: ``nats`` or ``bits``, of divergences and of the values that they are compared with.

    Raises:
        ValueError: If a value is outside its range.

    Source: Karim et al., CVPR 2022, section 3.2; nazmul-karim170/UNICON-Noisy-Label. Unlike there, both networks of an epoch use
    the selection from its start, and a class with fewer samples than its part is kept as it is, without repeating sample 0.

    References:
        Karim et al.: UNICON: Combating Label Noise Through Uniform Selection and Contrastive Learning. CVPR 2022.
        https://arxiv.org/abs/2203.14542
        Code: nazmul-karim170/UNICON-Noisy-Label@616dc49

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = UniformSelector(num_samples=4, num_classes=2, num_networks=1, warmup_epochs=0)
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.9, 0.1]])
        >>> result = ScanResult(label=torch.tensor([0, 0, 0, 1]), probs=probs.unsqueeze(0))
        >>> selector.receive_scan(result, Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5))
        >>> selector.kept.rows.T
        tensor([[1., 0., 0., 1.]])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int,
        warmup_epochs: int = 10,
        largest: float = 0.7,
        divisor: float = 5.0,
        trusted: float = 0.5,
        unit: Literal["nats", "bits"] = "nats",
    ) -> None:
        super().__init__()
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        for name, value in (("largest", largest), ("trusted", trusted)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not divisor >= 1:
            raise ValueError(f"divisor must be at least 1, got {divisor}")
        if unit not in ("nats", "bits"):
            raise ValueError(f"unknown unit {unit!r}; choose one of nats, bits")
        self.num_classes = num_classes
        self.num_networks = num_networks
        self.warmup_epochs = warmup_epochs
        self.largest = largest
        self.divisor = divisor
        self.trusted = trusted
        self.unit = unit
        self.divergence = SampleBuffer(num_samples, 1, 0.0)
        self.kept = SampleBuffer(num_samples, 1, 0.0, initial=1.0)

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return ScanRequest(probs=True) if progress.epoch >= self.warmup_epochs else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.probs is not None
        divergence = label_divergence(result.probs.mean(dim=0), result.label)
        if self.unit == "bits":
            divergence = divergence / math.log(2.0)
        below = divergence < divergence_threshold(divergence, self.largest, self.divisor)
        count = int(below.sum()) // self.num_classes
        kept = smallest_of_class(divergence, result.label, count, self.num_classes)
        self.divergence.fill(divergence.unsqueeze(1))
        self.kept.fill(kept.unsqueeze(1).float())
        self.is_refreshed = True

    def clean_probability(self, index: Tensor) -> Tensor:
        """Return how far each label is trusted if its sample is kept, w of the paper, the same for all networks.

        Args:
            index: int64, any shape.

        Returns:
            Float32 ``(M, *index.shape)`` in [0, 1]; 1 before the first choice.
        """
        divergence = self.divergence.rows[index, 0]
        return torch.where(divergence < self.trusted, 1.0, 1.0 - divergence).expand(self.num_networks, *index.shape)

    def confidence(self, label: Tensor) -> Tensor | None:
        return 1.0 - self.divergence.rows.T.expand(self.num_networks, -1) if self.is_refreshed else None

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        """Return 1 for kept samples, 0 for others and for mixed rows the fraction that is kept, float (M, B)."""
        return (targets.weight * self.kept.read(targets).squeeze(2)).sum(dim=0).to(losses.dtype).expand_as(losses)
