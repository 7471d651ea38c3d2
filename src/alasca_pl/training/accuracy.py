"""Accuracy on one split: of each rule of prediction and of each network."""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from alasca_pl.core.types import NetworkOutput
from alasca_pl.training.predict import PredictRule, predict


class SplitAccuracy(nn.Module):
    """Counts over batches; with several processes the counts are summed, so that ranks with different numbers of
    samples are weighted correctly.

    Args:
        rules: Rules of prediction to measure.
        average: What the rules average, see ``predict``.
        num_classes: K.
        num_networks: M; several are also measured one by one, as ``network_0`` and so on.
    """

    def __init__(
        self, rules: Sequence[PredictRule], average: Literal["logits", "probs"], num_classes: int, num_networks: int
    ) -> None:
        super().__init__()
        self._rules = tuple(rules)
        self._average = average
        # With one network its own accuracy is that of the rule ``main``.
        self._networks = [f"network_{number}" for number in range(num_networks)] if num_networks > 1 else []
        names = (*self._rules, *self._networks)
        self._metrics = nn.ModuleDict({name: MulticlassAccuracy(num_classes, average="micro") for name in names})

    def update(self, outputs: Sequence[NetworkOutput], label: Tensor) -> None:
        """Count a batch.

        Args:
            outputs: One per network.
            label: int64 (B,).
        """
        scores: dict[str, Tensor] = {rule: predict(outputs, rule, self._average) for rule in self._rules}
        scores |= {name: output.logits for name, output in zip(self._networks, outputs)}
        for name, score in scores.items():
            cast(MulticlassAccuracy, self._metrics[name]).update(score, label)

    def take(self) -> dict[str, Tensor]:
        """Return the accuracies by rule and network, scalars in [0, 1], and reset; empty if nothing was counted."""
        taken = {}
        for name, metric in cast(dict[str, MulticlassAccuracy], self._metrics).items():
            if metric.update_count:
                taken[name] = metric.compute()
                metric.reset()
        return taken
