"""What a report is asked to show."""

from dataclasses import dataclass

from alasca_pl.core.errors import UserError
from alasca_pl.core.metric_names import accuracy, is_accuracy
from alasca_pl.report.keys import RULE

SELECTS = {
    "last": "last epoch",
    "mean_of_last": "mean of the last epochs",
    "best_val": "epoch with the best accuracy on the validation split",
    "best_test": "best epoch on the test split: selected on what it is measured on, which flatters",
}


@dataclass(frozen=True)
class Question:
    """What a report is to show.

    Attributes:
        rows: Keys of the rows, see ``keys.value_of``; ``rule`` gives each rule of prediction a row.
        cols: Keys of the columns.
        metric: Name of a metric, e.g. ``test/acc_main``; ``test/acc`` is by the run's own rule of prediction.
        select: Which epochs: ``last``, ``mean_of_last``, ``best_val``, ``best_test``.
        where: Only runs with these values, as they are printed.
        allow: Names of the config that may differ between runs although they are neither rows nor columns.
        against: Label of the row that the others are compared with; empty for the row of plain cross-entropy, if there is one.
        margin: Smallest difference that matters, in percentage points for accuracies; None: 1 point, 0.01 of other metrics.
        level: Level of confidence.
    """

    rows: tuple[str, ...] = ("method", "alasca")
    cols: tuple[str, ...] = ("noise", "rate")
    metric: str = accuracy("test")
    select: str = "mean_of_last"
    where: tuple[tuple[str, str], ...] = ()
    allow: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    margin: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.select not in SELECTS:
            raise UserError(f"unknown select={self.select}; choose one of {', '.join(SELECTS)}")
        if not self.rows:
            raise UserError("rows has no key; give e.g. rows=method,alasca")
        twice = sorted({key for key in self.keys if self.keys.count(key) > 1})
        if twice:
            raise UserError(f"{', '.join(twice)} is in rows or cols twice")
        if "seed" in self.keys:
            raise UserError("runs are averaged over seeds; seed can be neither a row nor a column, use where=seed=0")
        if not 0.5 <= self.level < 1:
            raise UserError(f"level={self.level} must be at least 0.5 and below 1")
        if self.margin is not None and not self.margin >= 0:
            raise UserError(f"margin={self.margin} must be at least 0")
        if RULE in self.keys and not is_accuracy(self.metric):
            raise UserError(f"with {RULE} in rows or cols the metric must be an accuracy, got metric={self.metric}")

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of rows and columns."""
        return (*self.rows, *self.cols)

    @property
    def is_percent(self) -> bool:
        """Whether values are printed in percent."""
        return is_accuracy(self.metric)

    @property
    def smallest_gain(self) -> float:
        """Smallest difference that matters, in the unit of the printed values."""
        return 0.01 * self.scale if self.margin is None else self.margin

    @property
    def scale(self) -> float:
        """By what values of the records are multiplied."""
        return 100.0 if self.is_percent else 1.0
