"""Generalised cross-entropy: between cross-entropy (q -> 0) and mean absolute error (q = 1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, label_log_prob
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class GeneralisedCrossEntropy(Criterion):
    """The L_q loss ``(1 - p_y^q) / q``, optionally truncated.

    Args:
        q: Exponent in (0, 1]. Small values learn faster, large values are more robust to noisy labels.
        eps: Probabilities below it count as this value, which bounds the gradient; 1e-4 in jongwooko/ALASCA, 0 in
            Kthyeon/FINE_official.
        truncate_below: The paper's k in (0, 1): a label whose probability is not above it has the constant loss L_q(k)
            and no gradient. None does not truncate, as in the code that the ALASCA paper builds on. The decision
            follows the current prediction, as in the definition of the truncated loss; released code uses the decisions
            of the best model so far.
        truncate_from: First epoch that truncates; 40 for CIFAR-10 and 80 for CIFAR-100 in Kthyeon/FINE_official.

    Raises:
        ValueError: If a value is outside its range.

    Source: Zhang and Sabuncu, NeurIPS 2018, definitions of L_q and of its truncated form.

    References:
        Zhang and Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels. NeurIPS 2018.
        https://arxiv.org/abs/1805.07836
        Code: Kthyeon/FINE_official@d5ab341, jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> GeneralisedCrossEntropy(q=0.7)(logits, targets, now)
        tensor([0.3546, 0.8953])
    """

    def __init__(
        self, q: float = 0.7, eps: float = 1e-4, truncate_below: float | None = None, truncate_from: int = 40
    ) -> None:
        super().__init__()
        if not 0.0 < q <= 1.0:
            raise ValueError(f"q must lie in (0, 1], got {q}; use method=ce for q = 0")
        if not 0.0 <= eps < 1.0:
            raise ValueError(f"eps must lie in [0, 1), got {eps}; 0 clamps nothing")
        if truncate_below is not None and not 0.0 < truncate_below < 1.0:
            raise ValueError(f"truncate_below must lie in (0, 1), got {truncate_below}; the paper of GCE uses 0.5")
        self.q = q
        self.log_floor = math.log(eps) if eps > 0 else -math.inf
        self.truncate_below = truncate_below
        self.truncate_from = truncate_from

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_prob = label_log_prob(F.log_softmax(full_precision(logits), dim=1), targets.label)
        # p^q is computed as exp(q log p): its gradient is finite at p = 0 even without a clamp.
        loss = (1.0 - (self.q * log_prob.clamp_min(self.log_floor)).exp()) / self.q
        if self.truncate_below is not None and progress.epoch >= self.truncate_from:
            constant = (1.0 - self.truncate_below**self.q) / self.q
            loss = torch.where(log_prob > math.log(self.truncate_below), loss, torch.full_like(loss, constant))
        return (targets.weight * loss).sum(dim=0)
