"""Heteroskedastic adaptive regularisation: stronger smoothness for classes that are rare or hard."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alasca_pl.core.distributed import sum_ranks
from alasca_pl.core.files import parse_json
from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import StepView

# Exponents of kaidic/HAR, weight_est.py.
_DOUBT_EXPONENT = 0.6
_COUNT_EXPONENT = 0.4
_KEY = "accuracy_per_class"


def class_strengths_from(accuracy: Sequence[float] | None, counts: Sequence[int]) -> list[float]:
    """Compute the factors of the classes from accuracies and counts; the largest is 1.

    ``(1 - accuracy)^0.6 / count^0.4``, divided by the largest.

    Args:
        accuracy: Per class, in [0, 1], against given labels of samples that were not trained on. None treats the
            classes as equally hard, so that only counts matter.
        counts: Per class, samples with that given label. Classes without samples get the factor 0, which is never used.

    Raises:
        ValueError: If the accuracy of every class is 1.

    Source: Cao et al., ICLR 2021; kaidic/HAR.
    """
    doubts = [1.0] * len(counts) if accuracy is None else [(1.0 - a) ** _DOUBT_EXPONENT for a in accuracy]
    raw = [doubt / count**_COUNT_EXPONENT if count else 0.0 for doubt, count in zip(doubts, counts)]
    largest = max(raw)
    if largest == 0.0:
        raise ValueError("class_accuracy is 1 for all classes, which leaves nothing to regularize; use another method")
    return [value / largest for value in raw]


def read_class_accuracy(path: str | Path) -> list[Any]:
    """Read ``accuracy_per_class`` from a file that ``alasca-evaluate`` wrote.

    Args:
        path: A JSON file.

    Raises:
        ValueError: If it cannot be read or does not contain the list.
    """
    how = "write it with alasca-evaluate ckpt_path=STAGE1/checkpoints/last.ckpt split=val output=acc.json"
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"class_accuracy names {str(path)!r}, which cannot be read: {error}; {how}") from error
    if not isinstance(content, dict) or not isinstance(content.get(_KEY), list):
        raise ValueError(f"class_accuracy names {str(path)!r}, which has no list {_KEY!r}; {how}")
    return content[_KEY]


def _check_per_class(name: str, values: Sequence[Any], num_classes: int, largest: float, hint: str) -> list[float]:
    if len(values) != num_classes:
        raise ValueError(f"{name} must have {num_classes} values, one per class, got {len(values)}; {hint}")
    for number, value in enumerate(values):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= largest
        if not fits or math.isinf(value):
            raise ValueError(f"{name} of class {number} must be a number from 0 to {largest:g}, got {value!r}; {hint}")
    return [float(value) for value in values]


class HeteroskedasticAdaptiveRegularizer(Regularizer):
    """``class_strength[y] * sum over layers of || d L / d h(x) ||``, with L the mean base loss over the global batch.

    h are the outputs of the normalisation layers inside the residual blocks before their affine transformation; the
    norm is over all entries of one sample and is not squared. The penalty is itself differentiated. This needs the
    graph of the gradient, which costs time and memory.

    The factors of the classes are estimated from a first stage: cross-entropy on one half of the training data, whose
    accuracy per class is measured on the other half.

    Args:
        num_classes: K.
        strength: Factor of the penalty; with 0 the network does not return its activations.
        class_strengths: Factors of the classes, at least 0, instead of an estimate.
        class_accuracy: Accuracy of the first stage per class, in [0, 1], or the JSON file that ``alasca-evaluate`` wrote of
            it, see ``read_class_accuracy``. None treats all classes as equally hard, see ``class_strengths_from``.
        class_counts: Number of samples per given label in the training split.

    Raises:
        ValueError: If a value is outside its range, does not have one entry per class, or contradicts another.

    Source: Cao et al., ICLR 2021; kaidic/HAR.

    References:
        Cao et al.: Heteroskedastic and Imbalanced Deep Learning with Adaptive Regularization. ICLR 2021.
        https://arxiv.org/abs/2006.15766
        Code: kaidic/HAR@188a463

    Example:
        >>> regularizer = HeteroskedasticAdaptiveRegularizer(
        ...     num_classes=3, class_accuracy=[0.9, 0.5, 0.5], class_counts=[100, 100, 25]
        ... )
        >>> regularizer.class_strength
        tensor([0.2187, 0.5743, 1.0000])
    """

    class_strength: Tensor

    @staticmethod
    def absorb(node: dict[str, Any]) -> dict[str, Any]:
        """Replace the first stage's file by its values in the config, so that a run can be opened without the file."""
        if not isinstance(node.get("class_accuracy"), str):
            return node
        return {**node, "class_accuracy": read_class_accuracy(node["class_accuracy"])}

    def __init__(
        self,
        num_classes: int,
        strength: float = 10.0,
        class_strengths: Sequence[float] | None = None,
        class_accuracy: str | Path | Sequence[float] | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__(strength)
        if strength > 0:
            self.needs = frozenset({"norm_outputs"})
        if class_strengths is not None:
            if class_accuracy is not None:
                raise ValueError(
                    f"got class_strengths={list(class_strengths)} and class_accuracy={class_accuracy!r}, which is for "
                    "estimating them; give one of the two"
                )
            hint = "null estimates them"
            strengths = _check_per_class("class_strengths", class_strengths, num_classes, math.inf, hint)
        else:
            hint = "evaluate a run of method=ce on held-out samples of all classes"
            accuracy = class_accuracy
            if isinstance(accuracy, str | Path):
                accuracy = read_class_accuracy(accuracy)
            if accuracy is not None:
                accuracy = _check_per_class("class_accuracy", accuracy, num_classes, 1.0, hint)
            if class_counts is None:
                raise ValueError("class_counts are not known; give class_strengths, one number per class")
            counts = _check_per_class("class_counts", class_counts, num_classes, math.inf, "count the training split")
            strengths = class_strengths_from(accuracy, [int(count) for count in counts])
        # Not stored: it follows from the config, and a stored network may be used with another first stage.
        self.register_buffer("class_strength", torch.tensor(strengths), persistent=False)

    def forward(self, view: StepView) -> Tensor:
        if self.strength == 0:
            return torch.zeros_like(view.base_loss.detach())
        norm_outputs = view.output.norm_outputs
        if not norm_outputs:
            raise ValueError("the network gives no norm_outputs; call its enable_norm_outputs() first")
        batch_size = sum_ranks(view.base_loss.new_tensor([float(len(view.base_loss))]))
        # The sum is differentiated and divided afterwards: entries of a mean's gradient underflow in half precision.
        with torch.autocast(view.base_loss.device.type, enabled=False):
            slopes = torch.autograd.grad(
                view.base_loss.sum(), [norm_output.value for norm_output in norm_outputs], create_graph=True
            )
            norms = []
            for slope, norm_output in zip(slopes, norm_outputs):
                per_channel = full_precision(norm_output.scale).reshape(1, -1, *[1] * (slope.ndim - 2))
                before_scale = per_channel * full_precision(slope)
                norms.append(torch.linalg.vector_norm(before_scale.flatten(1), dim=1))
        strength = (view.targets.weight * self.class_strength[view.targets.label]).sum(dim=0)
        return strength * torch.stack(norms).sum(dim=0) / batch_size
