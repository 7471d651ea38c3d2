"""Self-distillation: the auxiliary classifiers learn from the labels, the main head's predictions and its features."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks
from alasca_pl.core.numerics import full_precision, over_labels
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import StepView

Variant = Literal["by", "al"]


class SelfDistillation(Regularizer):
    """Losses of the auxiliary classifiers in be-your-own-teacher training.

    With a = ``distillation_weight``, b = ``feature_weight``, T = ``temperature``, auxiliary logits f_k, features h_k, and
    main logits f_0 and features h_0 without gradient, summed over the auxiliary classifiers:

    - ``by``: ``(1 - a) CE(f_k) + a T^2 KD(f_k, f_0) + b FD(h_k, h_0)``
    - ``al``: ``a KD(f_k, f_0) + b FD(h_k, h_0)``, as in jongwooko/ALASCA

    KD is ``-sum softmax(f_0 / T) log softmax(f_k / T)``. FD is ``sum (h_k - h_0)^2`` over the units where one of the two
    is positive, and over the batch: its weight grows with the batch. The main head's ``(1 - a) CE`` is the criterion,
    ``CrossEntropy(scale=1 - a)``.

    Args:
        distillation_weight: a, in [0, 1].
        feature_weight: b, at least 0.
        temperature: T, above 0; the authors' are 3 for ``by`` and 2 for ``al``.
        variant: See above.
        strength: Factor of the whole penalty.

    Raises:
        ValueError: If a value is outside its range, or features have different widths at the first step.

    Source: Zhang et al., ICCV 2019; luanyunteng/pytorch-be-your-own-teacher.

    References:
        Zhang et al.: Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self Distillation.
        ICCV 2019. https://arxiv.org/abs/1905.08094
        Code: luanyunteng/pytorch-be-your-own-teacher@8045079, jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=60, step=600, max_epochs=120, steps_per_epoch=10)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> output = NetworkOutput(logits, aux_logits=(logits,), features=logits, aux_features=(logits + 1.0,))
        >>> view = StepView(output, targets, base_loss=torch.zeros(2), weight=torch.ones(2), progress=now)
        >>> SelfDistillation(feature_weight=0.1)(view)
        tensor([1.9232, 2.8232])
    """

    needs = frozenset({"aux_logits", "aux_features"})

    def __init__(
        self,
        distillation_weight: float = 0.1,
        feature_weight: float = 1e-6,
        temperature: float = 3.0,
        variant: Variant = "by",
        strength: float = 1.0,
    ) -> None:
        super().__init__(strength)
        if not 0.0 <= distillation_weight <= 1.0:
            raise ValueError(f"distillation_weight must lie in [0, 1], got {distillation_weight}; 0 is no distillation")
        if not feature_weight >= 0.0:
            raise ValueError(f"feature_weight must be at least 0, got {feature_weight}; 0 ignores features")
        if not temperature > 0.0:
            raise ValueError(f"temperature must be above 0, got {temperature}; 1 does not change predictions")
        if variant not in get_args(Variant):
            raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(get_args(Variant))}")
        self.distillation_weight = distillation_weight
        self.feature_weight = feature_weight
        self.temperature = temperature
        self.variant: Variant = variant

    def forward(self, view: StepView) -> Tensor:
        output, targets = view.output, view.targets
        scale = self.temperature**2 if self.variant == "by" else 1.0
        softened = F.softmax(full_precision(output.logits.detach()) / self.temperature, dim=1)
        teacher = full_precision(output.features.detach())
        # The step takes the mean over the global batch, and FD is a sum.
        batch_size = sum_ranks(view.base_loss.new_tensor([float(len(view.base_loss))]))
        total = torch.zeros_like(view.base_loss.detach())
        for logits, features in zip(output.aux_logits, output.aux_features):
            logits, features = full_precision(logits), full_precision(features)
            if features.shape != teacher.shape:
                raise ValueError(
                    f"features of an auxiliary classifier have width {features.shape[1]}, those of the main head "
                    f"{teacher.shape[1]}; make them equal with aux.width=null"
                )
            distilled = -(softened * F.log_softmax(logits / self.temperature, dim=1)).sum(dim=1)
            total = total + self.distillation_weight * scale * distilled
            active = (features > 0) | (teacher > 0)
            total = total + self.feature_weight * batch_size * ((features - teacher).square() * active).sum(dim=1)
            if self.variant == "by":
                log_probs = F.log_softmax(logits, dim=1)
                ce = -over_labels(log_probs, targets)
                total = total + (1.0 - self.distillation_weight) * ce
        return total
