"""DISC: each sample has its own thresholds, averages of how confident the network was on its two views."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import Progress, Targets


class Division(NamedTuple):
    """What is done with each sample of an epoch; no sample is in two of the three groups. All are (..., N)."""

    clean: Tensor
    """bool: its label is used."""
    hard: Tensor
    """bool: its label is used by a loss that forgives errors."""
    purified: Tensor
    """bool: the predicted class is used instead of its label."""
    label: Tensor
    """int64, the label that is used."""


def divide(weak: Tensor, strong: Tensor, thresholds: Tensor, label: Tensor) -> Division:
    """Divide samples by predictions and thresholds.

    A sample is clean if the probability of its label is above both of its thresholds and hard if it is above one of them. Of the
    others those are purified whose largest mean probability is above the mean threshold by one half, at most .99.

    Args:
        weak: Probabilities for the weak views, (N, K).
        strong: Those for the strong views.
        thresholds: Of both views, (N, 2).
        label: Given labels, int64 (N,).

    Returns:
        The division of the N samples.

    Example:
        >>> import torch
        >>> weak, strong = torch.tensor([[0.5, 0.5], [0.1, 0.9]]), torch.tensor([[0.4, 0.6], [0.2, 0.8]])
        >>> found = divide(weak, strong, thresholds=torch.tensor([[0.3, 0.5], [0.3, 0.3]]), label=torch.tensor([0, 0]))
        >>> found.hard.tolist(), found.purified.tolist(), found.label.tolist()
        ([True, False], [False, True], [0, 1])
    """
    row = torch.arange(len(label), device=label.device)
    passes = torch.stack([weak[row, label], strong[row, label]], dim=1) > thresholds
    clean, hard = passes.all(dim=1), passes[:, 0] ^ passes[:, 1]
    largest, predicted = ((weak + strong) / 2).max(dim=1)
    purified = (largest > (thresholds.mean(dim=1) + 0.5).clamp_max(0.99)) & ~(clean | hard)
    return Division(clean, hard, purified, torch.where(purified, predicted, label))


class DynamicThresholds(SampleSelector):
    """Divides the training set at the end of each epoch; see ``divide``. ``TwoViewStep`` trains on the groups.

    The predictions are those of the epoch's steps. After the division the thresholds follow the largest probabilities with a
    momentum. Before the first division all samples are clean. The weight of a sample is 1 where its given label is used.

    Args:
        num_samples: N.
        num_classes: K.
        num_networks: M; each network has its own division.
        momentum: Fraction of a threshold that is kept at the end of an epoch, in [0, 1).

    Raises:
        ValueError: If a value is outside its range.

    Source: Li et al., CVPR 2023, equations 2 to 6; JackYFL/DISC. As there, thresholds start at 1 / N.

    References:
        Li, Han, Shan and Chen: DISC: Learning from Noisy Labels via Dynamic Instance-Specific Selection and Correction.
        CVPR 2023. https://openaccess.thecvf.com/content/CVPR2023/html/Li_DISC_Learning_From_Noisy_Labels_via_Dynamic_Instance-Specific_Selection_and_CVPR_2023_paper.html
        Code: JackYFL/DISC@a21e910

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress
        >>> selector = DynamicThresholds(num_samples=2, num_classes=2, num_networks=1, momentum=0.5)
        >>> probs, label, index = torch.tensor([[[0.9, 0.1], [0.8, 0.2]]]), torch.tensor([0, 1]), torch.arange(2)
        >>> selector.begin(epoch=0)
        >>> selector.record(probs, probs, label, index)
        >>> selector.begin(epoch=1)
        >>> selector.division(label, index).clean
        tensor([[ True, False]])
    """

    def __init__(self, num_samples: int, num_classes: int, num_networks: int, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}; the authors use 0.99 and 0.95")
        self.momentum = momentum
        self.num_classes = num_classes
        self.num_networks = num_networks
        # Of each network the predictions for both views, then the given label; the latest of each sample.
        self.probs = SampleBuffer(num_samples, 2 * num_networks * num_classes, 0.0)
        self.thresholds = SampleBuffer(num_samples, 2 * num_networks, 0.0, initial=1.0 / num_samples)
        self.label = SampleBuffer(num_samples, 1, 0.0, initial=-1.0)
        # Of each network 1 for clean, 2 for hard, 3 for purified, 0 for none of them; then the labels that are used.
        self.groups = SampleBuffer(num_samples, 2 * num_networks, 0.0, initial=1.0)
        self.epoch = 0
        self.is_divided = False

    def begin(self, epoch: int) -> None:
        """Divide if another epoch has begun; called at each step, with the same epoch on all ranks."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        label = self.label.rows[:, 0].long()
        seen = label >= 0
        if not bool(seen.any()):
            return
        probs = self.probs.rows.view(len(label), self.num_networks, 2, self.num_classes)
        thresholds = self.thresholds.rows.view(len(label), self.num_networks, 2)
        groups, used = [], []
        for number in range(self.num_networks):
            weak, strong = probs[:, number].unbind(dim=1)
            found = divide(weak, strong, thresholds[:, number], label.clamp_min(0))
            groups.append(seen * (found.clean + 2 * found.hard + 3 * found.purified))
            used.append(found.label)
        self.groups.fill(torch.stack([*groups, *used], dim=1).float())
        largest = probs.amax(dim=3)
        moved = self.momentum * thresholds + (1.0 - self.momentum) * largest
        self.thresholds.fill(torch.where(seen[:, None, None], moved, thresholds).flatten(1))
        self.is_divided = True

    def record(self, weak: Tensor, strong: Tensor, label: Tensor, index: Tensor) -> None:
        """Keep the predictions of a step; every rank must call it.

        Args:
            weak: Probabilities for the weak views, detached, (M, B, K).
            strong: Those for the strong views.
            label: Given labels, int64 (B,).
            index: int64 (B,).
        """
        both = torch.stack([weak, strong], dim=1).float()
        self.probs.update(both.permute(2, 0, 1, 3).flatten(1), index)
        self.label.update(label.unsqueeze(1).float(), index)

    def division(self, label: Tensor, index: Tensor) -> Division:
        """Return the division of a batch for each network, each entry (M, B).

        Args:
            label: Given labels, int64 (B,).
            index: int64 (B,).
        """
        groups, used = self.groups.rows[index].T.long().chunk(2)
        return Division(groups == 1, groups == 2, groups == 3, used if self.is_divided else label.expand_as(used))

    def confidence(self, label: Tensor) -> Tensor | None:
        """How far the probabilities of a label are above its thresholds, the mean over both views, (M, N)."""
        if not self.is_divided:
            return None
        shape = (len(label), self.num_networks, 2)
        probs = self.probs.rows.view(*shape, self.num_classes)
        place = label.to(probs.device).view(-1, 1, 1, 1).expand(*shape, 1)
        return (probs.gather(3, place).squeeze(3) - self.thresholds.rows.view(shape)).mean(dim=2).T

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        groups = self.groups.rows[:, : self.num_networks][targets.index]
        kept = (groups == 1) | (groups == 2)
        return (targets.weight.unsqueeze(-1) * kept).sum(dim=0).T.to(losses)

    def get_extra_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "is_divided": self.is_divided}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.epoch, self.is_divided = state["epoch"], state["is_divided"]
