"""Cross-entropy, the default criterion."""

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class CrossEntropy(Criterion):
    """Negative log-probability of the given label. The ALASCA paper calls it Standard.

    Args:
        scale: Factor of the loss, at least 0, for methods that distribute the weight 1 over several losses.

    Raises:
        ValueError: If ``scale`` is negative.

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> CrossEntropy()(logits, targets, now)
        tensor([0.4076, 1.4076])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if not scale >= 0:
            raise ValueError(f"scale must be at least 0, got {scale}; 1 is plain cross-entropy")
        self.scale = scale

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        return -self.scale * over_labels(log_probs, targets)
