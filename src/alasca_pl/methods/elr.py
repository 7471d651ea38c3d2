"""Early-learning regularisation: cross-entropy plus a pull towards what the network predicted early on."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import Progress, Targets

PROB_MARGIN = 1e-4


class EarlyLearningRegularization(Criterion):
    """``CE + strength * log(1 - <t_i, p_i>)`` with t a moving average of the sample's own predictions.

    The second term is negative and decreases as prediction and average agree; clamping p bounds it from below.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        strength: Factor of the regularizer, the paper's lambda, at least 0.
        momentum: Fraction of the old average kept at each visit, the paper's beta, in [0, 1).
        half_table: Store the averages as float16, see ``SampleBuffer``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Liu et al., NeurIPS 2020, Eq. 6 and 9; clamp and update as in shengliu66/ELR.

    References:
        Liu et al.: Early-Learning Regularization Prevents Memorization of Noisy Labels. NeurIPS 2020.
        https://arxiv.org/abs/2007.00151
        Code: shengliu66/ELR@934af53

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> criterion = EarlyLearningRegularization(num_samples=2, num_classes=3)
        >>> criterion.observe(logits, index=torch.tensor([0, 1]))
        >>> criterion(logits, targets, now)
        tensor([-0.0911,  0.9089])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        strength: float = 3.0,
        momentum: float = 0.7,
        half_table: bool = False,
    ) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 is plain cross-entropy")
        self.strength = strength
        self.average = SampleBuffer(num_samples, num_classes, momentum, half=half_table)

    def observe(self, logits: Tensor, index: Tensor) -> None:
        probs = F.softmax(logits.float(), dim=1).clamp(PROB_MARGIN, 1.0 - PROB_MARGIN)
        self.average.update(probs / probs.sum(dim=1, keepdim=True), index)

    def confidence(self, label: Tensor) -> Tensor:
        label = label.to(self.average.rows.device)
        return self.average.rows.gather(1, label.unsqueeze(1)).squeeze(1).float()

    def inactive_because(self, last: Progress) -> str | None:
        return None if self.strength else "strength=0"

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        ce = -over_labels(log_probs, targets)
        early = (targets.weight.unsqueeze(-1) * self.average.read(targets)).sum(dim=0)
        probs = log_probs.exp().clamp(PROB_MARGIN, 1.0 - PROB_MARGIN)
        return ce + self.strength * torch.log(1.0 - (early * probs).sum(dim=1))
