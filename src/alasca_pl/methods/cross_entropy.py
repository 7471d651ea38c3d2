"""Cross-entropy, the default criterion: trust every label."""

import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.numerics import full_precision, label_log_prob
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Progress, Targets


class CrossEntropy(Criterion):
    """Negative log-probability of the given label. What the ALASCA paper calls Standard."""

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        return -(targets.weight * label_log_prob(log_probs, targets.label)).sum(dim=0)
