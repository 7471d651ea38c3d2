"""Symmetric cross-entropy: cross-entropy plus its reverse, which is bounded."""

import math

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, label_log_prob
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class SymmetricCrossEntropy(Criterion):
    """``ce_weight * CE + reverse_weight * RCE`` with ``RCE = -log_zero * (1 - p_y)``.

    The reverse term swaps prediction and label; the logarithm of the label's zeros is replaced by ``log_zero``.

    Args:
        ce_weight: The paper's alpha, at least 0.
        reverse_weight: The paper's beta, at least 0.
        log_zero: Stands for log 0, below 0; -4 in Kthyeon/FINE_official, ln 1e-4 = -9.21 in jongwooko/ALASCA.
        clamp_label: Replace the label's zeros by ``exp(log_zero)`` in the cross-entropy too, as in jongwooko/ALASCA.
            This adds ``exp(log_zero)`` times the sum of the negative log-probabilities of all other classes.

    Raises:
        ValueError: If a value is outside its range.

    Source: Wang et al., ICCV 2019; constants from Kthyeon/FINE_official for CIFAR-10.

    References:
        Wang et al.: Symmetric Cross Entropy for Robust Learning with Noisy Labels. ICCV 2019.
        https://arxiv.org/abs/1908.06112
        Code: Kthyeon/FINE_official@d5ab341, jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> SymmetricCrossEntropy(ce_weight=0.1, reverse_weight=1.0)(logits, targets, now)
        tensor([1.3798, 3.1618])
    """

    def __init__(
        self, ce_weight: float = 0.1, reverse_weight: float = 1.0, log_zero: float = -4.0, clamp_label: bool = False
    ) -> None:
        super().__init__()
        if not (ce_weight >= 0 and reverse_weight >= 0):
            raise ValueError(f"weights must be at least 0, got ce_weight {ce_weight}, reverse_weight {reverse_weight}")
        if not log_zero < 0:
            raise ValueError(f"log_zero must be below 0, got {log_zero}; it stands for the logarithm of zero")
        self.ce_weight = ce_weight
        self.reverse_weight = reverse_weight
        self.log_zero = log_zero
        self.clamp_label = clamp_label

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        log_prob = label_log_prob(log_probs, targets.label)
        ce = -log_prob
        if self.clamp_label:
            ce = ce + math.exp(self.log_zero) * (log_prob - log_probs.sum(dim=1))
        reverse = -self.log_zero * (1.0 - log_prob.exp())
        per_label = self.ce_weight * ce + self.reverse_weight * reverse
        return (targets.weight * per_label).sum(dim=0)
