"""Peer loss: cross-entropy minus that of a random pair of prediction and label, so that no noise rate is needed."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.distributed import gather_with_places
from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion
from alasca_pl.core.seeds import generator
from alasca_pl.core.types import Progress, Targets

# Added to probabilities.
_EPS = 1e-5


class PeerLoss(Criterion):
    """``CE(x, y) - strength * CE(x, y')`` with ``y'`` the label of a random other sample.

    A prediction that only follows how frequent labels are gains as much from the first term as it loses by the second one. The
    difference has no lower bound for a strength above 1.

    Args:
        class_counts: Samples of each class in the training split, by given label.
        strength: The paper's alpha at the end of the run, at least 0.
        warmup_epochs: Epochs of cross-entropy before; then the strength rises linearly until the last epoch.
        segments: Another course of the strength, one after the other (first value, last value, epochs); the last value stays.
            An empty list has none, and the strength rises as above.
        peers: ``permuted``: the labels of the global batch in random order, and for a batch of one sample as below.
            ``expected``: the mean over all labels of the training set, the mean of ``permuted``; the regulariser of CORES2.
        scaled: Divide the loss by 1 + strength, as the authors divide the learning rate.
        seed: Of the order.

    Raises:
        ValueError: If a value is outside its range.

    Source: Liu and Guo, ICML 2020; weijiaheng/Multi-class-Peer-Loss-functions, where images of the second term are those of
    another batch. The expectation is the same.

    References:
        Liu and Guo: Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates. ICML 2020.
        https://arxiv.org/abs/1910.03231
        Code: weijiaheng/Multi-class-Peer-Loss-functions@fba9eb6

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=9, step=45, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> PeerLoss(class_counts=(50, 50, 0), warmup_epochs=0, peers="expected", scaled=False)(logits, targets, now)
        tensor([-0.5000,  0.5000])
    """

    frequency: Tensor

    def __init__(
        self,
        class_counts: Sequence[int],
        strength: float = 1.0,
        warmup_epochs: int = 20,
        segments: Sequence[Sequence[float]] = (),
        peers: Literal["permuted", "expected"] = "permuted",
        scaled: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 is plain cross-entropy")
        if not warmup_epochs >= 0:
            raise ValueError(f"warmup_epochs must be at least 0, got {warmup_epochs}")
        if not all(len(each) == 3 and min(each) >= 0 and each[2] >= 1 for each in segments):
            raise ValueError(f"segments must be triples (first value, last value, epochs), got {segments}")
        if peers not in ("permuted", "expected"):
            raise ValueError(f"unknown peers {peers!r}; choose one of permuted, expected")
        self.strength = strength
        self.warmup_epochs = warmup_epochs
        self.segments = [tuple(each) for each in segments]
        self.peers = peers
        self.scaled = scaled
        self.seed = seed
        counts = torch.tensor(class_counts, dtype=torch.float64)
        # Not kept in checkpoints: it follows from the data.
        self.register_buffer("frequency", counts / counts.sum(), persistent=False)

    def strength_at(self, progress: Progress) -> float:
        """The strength at an epoch."""
        if not self.segments:
            after = progress.epoch - self.warmup_epochs + 1
            return self.strength * max(0.0, after / max(1, progress.max_epochs - self.warmup_epochs))
        epoch: float = progress.epoch
        for first, last, epochs in self.segments:
            if epoch < epochs:
                return first + (last - first) * epoch / max(1.0, epochs - 1)
            epoch -= epochs
        return self.segments[-1][1]

    def inactive_because(self, last: Progress) -> str | None:
        if any(self.strength_at(last._replace(epoch=epoch)) for epoch in range(last.epoch + 1)):
            return None
        if self.strength == 0.0 or self.segments:
            return "its strength was 0 in all epochs"
        return f"its warm-up of {self.warmup_epochs} epochs (warmup_epochs) covers the run"

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        probs = F.softmax(full_precision(logits), dim=1)
        costs = -(probs + _EPS).log()
        loss = over_labels(costs, targets)
        strength = self.strength_at(progress)
        if strength == 0.0:
            return loss
        loss = loss - strength * self._of_peers(costs, targets, progress)
        return loss / (1.0 + strength) if self.scaled else loss

    def _of_peers(self, costs: Tensor, targets: Targets, progress: Progress) -> Tensor:
        if self.peers == "permuted":
            # All labels of a mixed row go together.
            own, label, weight = gather_with_places(targets.label.T.contiguous(), targets.weight.T.contiguous())
            # A single sample would be its own peer.
            if len(label) > 1:
                order = torch.randperm(len(label), generator=generator(self.seed, "peers", progress.step))
                partner = order.to(own.device)[own]
                return over_labels(costs, targets._replace(label=label[partner].T, weight=weight[partner].T))
        return costs @ self.frequency.to(costs)
