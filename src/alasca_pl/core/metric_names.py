"""Names of metrics: ``group/quantity``, or ``group/quantity/network`` for several networks.

The group is a split (``train``, ``val``, ``test``, ...), ``select`` for selections, or the name of a part such as ``alasca``.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class MetricName(NamedTuple):
    """The components of a metric's name.

    Example:
        >>> str(MetricName("train", "loss_base", 1)), MetricName.parse("test/acc_main")
        ('train/loss_base/1', MetricName(group='test', quantity='acc_main', network=None))
    """

    group: str
    quantity: str
    network: int | None = None

    def __str__(self) -> str:
        number = "" if self.network is None else f"/{self.network}"
        return f"{self.group}/{self.quantity}{number}"

    @classmethod
    def parse(cls, name: str) -> "MetricName":
        """Split a name into its components.

        Raises:
            ValueError: If it does not have the form above, e.g. ``epoch``.
        """
        pieces = name.split("/")
        if len(pieces) not in (2, 3) or not all(pieces) or (len(pieces) == 3 and not pieces[2].isdigit()):
            raise ValueError(f"{name!r} is not the name of a metric; use group/quantity or group/quantity/network")
        return cls(pieces[0], pieces[1], int(pieces[2]) if len(pieces) == 3 else None)


TRAIN, VAL, TEST, SELECT = "train", "val", "test", "select"

LOSS = str(MetricName(TRAIN, "loss"))
BASE_LOSS = "loss_base"
LOSS_OF_STEP = str(MetricName(TRAIN, "loss_step"))
ACC_OBSERVED = str(MetricName(TRAIN, "acc_observed"))
ACC_CLEAN = str(MetricName(TRAIN, "acc_clean"))
MEMORISED = str(MetricName(TRAIN, "memorised"))
# On splits whose classes differ in size: the mean over the classes, and what always predicting the largest one reaches.
BALANCED, MAJORITY = "balanced_acc", "majority_acc"
AUROC_OF_LOSS = "auroc_loss"

# Confidence in the given labels: of a part, and in the group ``train`` the networks' own, each sample's at its step.
CONFIDENCE_CLEAN, CONFIDENCE_WRONG, AUROC = "confidence_clean", "confidence_wrong", "auroc"
# Over all samples, where nobody knows which labels are clean.
CONFIDENCE = "confidence"
CONFIDENCE_CLEAN_STD, CONFIDENCE_WRONG_STD = f"{CONFIDENCE_CLEAN}_std", f"{CONFIDENCE_WRONG}_std"


def accuracy(split: str, rule: str | None = None) -> str:
    """Name of the accuracy on a split by a rule of prediction; without a rule, by the run's own."""
    return str(MetricName(split, "acc" if rule is None else f"acc_{rule}"))


def is_accuracy(name: str, splits: Iterable[str] | None = None) -> bool:
    """Whether a name, of any form, is that of an accuracy by a rule of prediction, on one of these splits if given."""
    its = _parsed([name]).get(name)
    if its is None or its.group == TRAIN or not f"{its.quantity}_".startswith("acc_"):
        return False
    return splits is None or its.group in splits


def splits_measured(names: Iterable[str]) -> list[str]:
    """Splits other than the training split that have an accuracy, in order of appearance."""
    return list(dict.fromkeys(MetricName.parse(name).group for name in names if is_accuracy(name)))


def per_network(group: str, quantity: str, values: Sequence[float]) -> dict[str, float]:
    """Name one value per network; a single network has no number."""
    numbers: Sequence[int | None] = [None] if len(values) == 1 else range(len(values))
    return {str(MetricName(group, quantity, number)): value for number, value in zip(numbers, values)}


def of_quantity(metrics: Mapping[str, float], quantity: str) -> list[tuple[MetricName, float]]:
    """All values of a quantity, of any group and network."""
    return [(its, metrics[name]) for name, its in _parsed(metrics).items() if its.quantity == quantity]


def _parsed(names: Iterable[str]) -> dict[str, MetricName]:
    """The names that have the form above; a user's callback may log others."""
    found = {}
    for name in names:
        with contextlib.suppress(ValueError):
            found[name] = MetricName.parse(name)
    return found
