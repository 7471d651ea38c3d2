"""Jensen-Shannon losses: between cross-entropy and absolute error, with several views also a demand for consistency."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets

# Smallest probability in the logarithm of the mean distribution.
_LEAST = 1e-7


class JensenShannon(Criterion):
    """The divergence between a label and the network's predictions for one or more views of the sample.

    It is ``w KL(label || m) + sum_v w_v KL(p_v || m)`` with ``m`` the mean of all distributions under the same weights;
    predictions share the weight ``1 - w`` equally. It is bounded, and 0 only if all predictions equal the label.

    Args:
        label_weight: Weight w of the label, in (0, 1). Towards 0 the loss with one view becomes cross-entropy, towards 1
            half the absolute error.
        several_views: Compare the predictions for all views that the step brings (GJS), instead of for the first (JS).
        scaled: Divide by ``-(1 - w) log(1 - w)``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Englesson and Azizpour, NeurIPS 2021; clamps and scale as in ErikEnglesson/GJS.

    References:
        Englesson and Azizpour: Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels. NeurIPS 2021.
        https://arxiv.org/abs/2105.04522
        Code: ErikEnglesson/GJS@1a3c9e0

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> JensenShannon(label_weight=0.5)(logits, targets, now)
        tensor([0.3836, 1.1099])
        >>> second = torch.tensor([[0.5, 1.5, 0.0], [0.5, 1.5, 0.0]])
        >>> JensenShannon(label_weight=0.3, several_views=True)(logits, targets, now, others=(second,))
        tensor([1.0271, 1.0491])
    """

    def __init__(self, label_weight: float = 0.5, several_views: bool = False, scaled: bool = True) -> None:
        super().__init__()
        if not 0.0 < label_weight < 1.0:
            raise ValueError(f"label_weight must lie in (0, 1), got {label_weight}; use method=ce for 0")
        self.label_weight = label_weight
        self.others = "views" if several_views else "none"
        self.scale = 1.0 / -((1.0 - label_weight) * math.log1p(-label_weight)) if scaled else 1.0

    def forward(self, logits: Tensor, targets: Targets, progress: Progress, others: Sequence[Tensor] = ()) -> Tensor:
        log_probs = torch.stack([F.log_softmax(full_precision(each), dim=1) for each in (logits, *others)])
        probs = log_probs.exp()
        weight = targets.weight.to(probs.dtype).unsqueeze(-1)
        label = (weight * F.one_hot(targets.label, probs.shape[-1])).sum(dim=0)
        mean = self.label_weight * label + (1.0 - self.label_weight) * probs.mean(dim=0)
        log_mean = mean.clamp(_LEAST, 1.0).log()
        of_label = (torch.xlogy(label, label) - label * log_mean).sum(dim=1)
        of_views = (probs * (log_probs - log_mean)).sum(dim=2).mean(dim=0)
        return self.scale * (self.label_weight * of_label + (1.0 - self.label_weight) * of_views)
