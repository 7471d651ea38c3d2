"""How several heads and networks are combined into one prediction."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from alasca_pl.core.types import NetworkOutput

PredictRule = Literal["main", "ensemble_all", "main_last"]
RULES: tuple[PredictRule, ...] = get_args(PredictRule)


def rules_for(has_auxiliary_heads: bool) -> tuple[PredictRule, ...]:
    """The rules that differ: without auxiliary heads all of them are ``main``."""
    return RULES if has_auxiliary_heads else ("main",)


def check_rule(rule: str, average: str) -> None:
    """Raise ``ValueError`` unless both values are known to ``predict``."""
    if rule not in RULES:
        raise ValueError(f"unknown prediction rule {rule!r}; choose one of {', '.join(RULES)}")
    if average not in ("logits", "probs"):
        raise ValueError(f"unknown average {average!r}; choose one of logits, probs")


def predict(
    outputs: Sequence[NetworkOutput],
    rule: PredictRule = "main",
    average: Literal["logits", "probs"] = "logits",
) -> Tensor:
    """Combine networks and heads by their mean.

    Args:
        outputs: One per network.
        rule: ``main``: main heads, what the paper calls ALASCA; ``ensemble_all``: all heads, its ALASCA*; ``main_last``:
            main head and deepest auxiliary head, which the authors' code always reports.
        average: Average logits or probabilities.

    Returns:
        Scores (B, K); the largest is the predicted class.

    Raises:
        ValueError: If ``rule`` or ``average`` is unknown.
    """
    check_rule(rule, average)
    heads: list[Tensor] = []
    for output in outputs:
        heads.append(output.logits)
        if rule == "ensemble_all":
            heads.extend(output.aux_logits)
        elif rule == "main_last":
            heads.extend(output.aux_logits[-1:])
    scores = torch.stack(heads)
    return (scores.softmax(dim=-1) if average == "probs" else scores).mean(dim=0)
