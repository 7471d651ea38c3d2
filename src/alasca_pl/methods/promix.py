"""ProMix: in each class the samples with the smallest losses, and running averages of what networks predict."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.parts import RefreshedSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.schedules import linear_ramp
from alasca_pl.core.types import Progress, Targets


def smallest_of_class(losses: Tensor, label: Tensor, count: int, num_classes: int) -> Tensor:
    """Mark in each class equally many samples with the smallest losses.

    Args:
        losses: (N,).
        label: int64 (N,).
        count: How many of each class; of a class with fewer all of them.
        num_classes: K.

    Returns:
        bool (N,). Among equal losses the smaller index comes first.

    Example:
        >>> import torch
        >>> smallest_of_class(torch.tensor([0.3, 0.1, 0.2, 0.9]), torch.tensor([0, 0, 0, 1]), count=1, num_classes=2)
        tensor([False,  True, False,  True])
    """
    marked = torch.zeros(len(label), dtype=torch.bool)
    for number in range(num_classes):
        members = torch.nonzero(label == number).squeeze(1)
        marked[members[torch.argsort(losses[members], stable=True)[:count]]] = True
    return marked


class ClassSmallLosses(RefreshedSelector):
    """Keeps in each class equally many samples with the smallest losses; each network has its own choice.

    The training set is scanned before each epoch from ``warmup_epochs`` on; until then all samples are kept. For ``ProMixStep``,
    which keeps more than these, it also holds the average predictions of each network for kept and other samples.

    Args:
        num_samples: N.
        num_classes: K.
        num_networks: M.
        warmup_epochs: Epochs before the first choice.
        fraction: rho at the start, of all samples, in (0, 1].
        last_fraction: rho from ``ramp_epochs`` on.
        ramp_epochs: Epochs of the run in which it goes linearly from one to the other.
        momentum: Of the average predictions, in [0, 1).

    Raises:
        ValueError: If a value is outside its range.

    Source: Xiao et al., IJCAI 2023, section 3.2; Justherozen/ProMix.

    References:
        Xiao et al.: ProMix: Combating Label Noise via Maximizing Clean Sample Utility. IJCAI 2023.
        https://arxiv.org/abs/2207.10276
        Code: Justherozen/ProMix@40d8378

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = ClassSmallLosses(num_samples=4, num_classes=2, num_networks=1, warmup_epochs=0)
        >>> result = ScanResult(label=torch.tensor([0, 0, 0, 1]), losses=torch.tensor([[0.3, 0.1, 0.2, 0.9]]))
        >>> selector.receive_scan(result, Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5))
        >>> selector.kept.rows.T
        tensor([[0., 1., 0., 1.]])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int,
        warmup_epochs: int = 10,
        fraction: float = 0.5,
        last_fraction: float = 0.5,
        ramp_epochs: int = 50,
        momentum: float = 0.9999,
    ) -> None:
        super().__init__()
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        for name, value in (("fraction", fraction), ("last_fraction", last_fraction)):
            if not 0.0 < value <= 1.0:
                raise ValueError(f"{name} must lie in (0, 1], got {value}")
        if not ramp_epochs >= 0:
            raise ValueError(f"ramp_epochs must be at least 0, got {ramp_epochs}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.num_classes = num_classes
        self.warmup_epochs = warmup_epochs
        self.fraction = fraction
        self.last_fraction = last_fraction
        self.ramp_epochs = ramp_epochs
        self.momentum = momentum
        # One column per network.
        self.kept = SampleBuffer(num_samples, num_networks, 0.0, initial=1.0)
        # Averages for kept samples, then those for the others: one row for each of both and network.
        self.averages = SampleBuffer(2 * num_networks, num_classes, 0.0, initial=1.0 / num_classes)

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return ScanRequest(losses=True) if progress.epoch >= self.warmup_epochs else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.losses is not None
        ramp = linear_ramp(progress.epoch, self.ramp_epochs)
        fraction = self.fraction + ramp * (self.last_fraction - self.fraction)
        # 0.1 * 30 lies just above 3.
        count = max(1, math.ceil(fraction * len(result.label) / self.num_classes - 1e-9))
        rows = [smallest_of_class(each, result.label, count, self.num_classes) for each in result.losses]
        self.kept.fill(torch.stack(rows, dim=1).float())
        self.is_refreshed = True

    def average_predictions(self) -> tuple[Tensor, Tensor]:
        """Average predictions of each network for kept and for other samples, float32 (M, K) each; uniform at first."""
        kept, others = self.averages.rows.chunk(2)
        return kept, others

    def update_averages(self, kept: Tensor, others: Tensor) -> None:
        """Move the averages towards mean predictions of a global batch, equal on all ranks.

        Args:
            kept: (M, K), detached; rows of 0 leave the average as it is.
            others: Likewise.
        """
        new = torch.cat([kept, others]).float()
        old = self.averages.rows
        moved = self.momentum * old + (1.0 - self.momentum) * new
        self.averages.fill(torch.where(new.sum(dim=1, keepdim=True) > 0, moved, old))

    def confidence(self, label: Tensor) -> Tensor | None:
        return self.kept.rows.T if self.is_refreshed else None

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return (targets.weight.unsqueeze(-1) * self.kept.read(targets)).sum(dim=0).T.to(losses)
