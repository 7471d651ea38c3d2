"""Accuracy on one split: of each rule of prediction and of each network."""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from alasca_pl.core.metric_names import BALANCED, MAJORITY
from alasca_pl.core.types import NetworkOutput
from alasca_pl.training.predict import PredictRule, predict

# Of the largest and the smallest class: ratio of their sizes, and difference in deviations of a class's size.
_ABOUT_THE_SAME = 2
_DEVIATIONS = 4


class SplitAccuracy(nn.Module):
    """Counts over batches; with several processes the counts are summed, so that ranks with different numbers of
    samples are weighted correctly.

    Args:
        rules: Rules of prediction to measure.
        average: What the rules average, see ``predict``.
        num_classes: K.
        num_networks: M; several are also measured one by one, as ``network_0`` and so on.
        balanced_rule: The rule of which accuracy is also measured by class, see ``by_class``.
    """

    def __init__(
        self,
        rules: Sequence[PredictRule],
        average: Literal["logits", "probs"],
        num_classes: int,
        num_networks: int,
        balanced_rule: PredictRule = "main",
    ) -> None:
        super().__init__()
        self._rules = tuple(rules)
        self._average = average
        # With one network its own accuracy is that of the rule ``main``.
        self._networks = [f"network_{number}" for number in range(num_networks)] if num_networks > 1 else []
        names = (*self._rules, *self._networks)
        self._balanced_rule = balanced_rule
        self._by_class = MulticlassStatScores(num_classes, average=None)
        self._metrics = nn.ModuleDict({name: MulticlassAccuracy(num_classes, average="micro") for name in names})

    def update(self, outputs: Sequence[NetworkOutput], label: Tensor) -> None:
        """Count a batch.

        Args:
            outputs: One per network.
            label: int64 (B,).
        """
        scores: dict[str, Tensor] = {rule: predict(outputs, rule, self._average) for rule in self._rules}
        scores |= {name: output.logits for name, output in zip(self._networks, outputs)}
        self._by_class.update(scores[self._balanced_rule], label)
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

    def take_by_class(self) -> dict[str, float]:
        """Return accuracies that do not hide small classes, and reset; empty if nothing was counted.

        Returns:
            ``balanced_acc``, the mean over the classes of their accuracy, and ``majority_acc``, what always predicting the
            largest class would reach. They are left out where accuracy says as much: where the largest class is at most twice as
            large as the smallest, or their difference is what chance makes of equal classes in a small split.
        """
        if not self._by_class.update_count:
            return {}
        correct, _, _, _, size = self._by_class.compute().cpu().double().T
        self._by_class.reset()
        by_chance = _DEVIATIONS * float(size.mean()) ** 0.5
        if size.max() <= _ABOUT_THE_SAME * size.min() or size.max() - size.min() <= by_chance:
            return {}
        present = size > 0
        return {
            BALANCED: float((correct[present] / size[present]).mean()),
            MAJORITY: float(size.max() / size.sum()),
        }
