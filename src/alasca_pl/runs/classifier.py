"""A run as one plain module, from pixels to probabilities."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from alasca_pl.core.errors import UserError
from alasca_pl.core.normalise import Normalise
from alasca_pl.models.network import Network
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.predict import PredictRule, check_rule, predict


class Classifier(nn.Module):
    """Networks with normalisation, a rule of prediction and softmax, as one module that can be traced and exported.

    It holds copies in evaluation mode. Auxiliary heads that the rule does not use are left out.

    Args:
        networks: M networks; the prediction is their mean.
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise, above 0.
        rule: Which heads of each network count, see ``training.predict.predict``.
        average: Whether logits or probabilities of heads and networks are averaged.

    Raises:
        ValueError: If ``rule`` or ``average`` is unknown.

    Example:
        >>> import torch
        >>> from alasca_pl.models.backbones import small_resnet
        >>> classifier = Classifier([Network(small_resnet(), num_classes=10)], [0.5] * 3, [0.25] * 3)
        >>> probs = classifier(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
        >>> probs.shape, bool(((probs.sum(dim=1) - 1).abs() < 1e-6).all())
        (torch.Size([2, 10]), True)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        networks: Sequence[Network],
        mean: Sequence[float],
        std: Sequence[float],
        rule: PredictRule = "main",
        average: Literal["logits", "probs"] = "logits",
    ) -> None:
        super().__init__()
        check_rule(rule, average)
        self.rule: PredictRule = rule
        self.average: Literal["logits", "probs"] = average
        self.networks = nn.ModuleList(_needed(network, rule) for network in networks)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Classify images.

        Args:
            image: Pixels 0 to 255, uint8 (B, C, H, W).

        Returns:
            Probability of each class, float32 (B, K).
        """
        normalised = Normalise(self.mean, self.std)(image)
        scores = predict([network(normalised) for network in self.networks], self.rule, self.average)
        return probabilities(scores, self.average)


def probabilities(scores: Tensor, average: str) -> Tensor:
    """Probabilities (B, K) from what ``predict`` gives."""
    # Averaged probabilities are probabilities; averaged logits are not yet.
    return scores if average == "probs" else scores.softmax(dim=1)


def chosen_rule(module: NoisyLabelModule, rule: str | None) -> PredictRule:
    """The rule that is asked for, or that of the run.

    Raises:
        UserError: If it is unknown, or needs auxiliary heads and the run has none.
    """
    if rule is None:
        return module.measured_rule
    try:
        check_rule(rule, module.predict_average)
    except ValueError as error:
        raise UserError(str(error)) from error
    if rule not in module.rules:
        raise UserError(f"rule={rule} needs auxiliary heads, but the run has none; choose rule=main")
    return rule


def _needed(network: Network, rule: PredictRule) -> Network:
    network = copy.deepcopy(network)
    stages = list(network.aux_heads)
    used: dict[str, list[str]] = {"main": [], "ensemble_all": stages, "main_last": stages[-1:]}
    network.aux_heads = nn.ModuleDict({stage: network.aux_heads[stage] for stage in used[rule]})
    return network
