"""Runs in rows and columns, and what does not belong together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.metric_names import VAL, MetricName, accuracy, is_accuracy, splits_measured
from alasca_pl.core.rows import Row
from alasca_pl.report.differing import check_differences
from alasca_pl.report.keys import (
    RULE,
    check_key,
    comparable,
    order_of,
    rules_of,
    text_of,
    value_of,
)
from alasca_pl.report.question import Question
from alasca_pl.report.saved import Found, SavedRun
from alasca_pl.report.statistics import mean_and_std
from alasca_pl.report.summary import tail_of

Label = tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """A run in its cell.

    Attributes:
        run: The run.
        value: Its value, scaled.
        rule: The rule of prediction by which it was measured, or None for the metric as asked.
    """

    run: SavedRun
    value: float
    rule: str | None = None


@dataclass(frozen=True)
class Grid:
    """Runs in rows and columns.

    Attributes:
        question: What was asked.
        rows: Labels of the rows, in order.
        cols: Labels of the columns, in order.
        cells: Runs of each cell by seed; a missing cell is absent.
        notes: What else a reader should know.
    """

    question: Question
    rows: tuple[Label, ...]
    cols: tuple[Label, ...]
    cells: Mapping[tuple[Label, Label], Mapping[int, Entry]]
    notes: tuple[str, ...] = ()

    def cell(self, row: Label, col: Label) -> Mapping[int, Entry]:
        """Runs of a cell by seed; empty where it is missing."""
        return self.cells.get((row, col), {})

    def summary(self, row: Label, col: Label) -> tuple[float, float | None, int] | None:
        """Mean, standard deviation and number of a cell; None where it is missing."""
        values = [entry.value for entry in self.cell(row, col).values()]
        return (*mean_and_std(values), len(values)) if values else None

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return sorted({seed for cell in self.cells.values() for seed in cell})

    def runs(self) -> list[SavedRun]:
        """All runs, each once."""
        return list({id(each.run): each.run for cell in self.cells.values() for each in cell.values()}.values())


def label_text(label: Label) -> str:
    """A label as it is printed."""
    values = list(label)
    # The rate of labels as given says nothing.
    while len(values) > 1 and values[-1] is None:
        values.pop()
    return ", ".join(map(text_of, values)) or "all"


def selected(runs: Sequence[SavedRun], question: Question) -> list[SavedRun]:
    """Runs that a question is about.

    Raises:
        UserError: If a key is unknown or no run is left.
    """
    for key in (*question.keys, *(key for key, _ in question.where)):
        check_key(runs, key)
    kept = [run for run in runs if all(text_of(value_of(run, key)) == value for key, value in question.where)]
    if not kept:
        there = "; ".join(
            f"{key} is {', '.join(sorted({text_of(value_of(run, key)) for run in runs}))}" for key, _ in question.where
        )
        raise UserError(f"no run is left by where={','.join('='.join(pair) for pair in question.where)}: {there}")
    return kept


def build_grid(found: Found, question: Question, value: Callable[[SavedRun, str, str], float] | None = None) -> Grid:
    """Put runs into rows and columns.

    Args:
        found: Runs.
        question: What is asked.
        value: Gives the value of a run by metric and select; ``figure`` by default.

    Raises:
        UserError: If there is no finished run, a name is unknown, runs differ in something outside rows, columns and seed,
            or two runs have the same cell and seed.
    """
    if not found.runs:
        listing = "; ".join(f"{each.source}: {each.status}" for each in found.aside[:10])
        raise UserError(f"there is no finished run{f' ({listing})' if listing else ''}")
    runs = selected(found.runs, question)
    allowed = check_differences(runs, question)
    cells: dict[tuple[Label, Label], dict[int, Entry]] = {}
    for run in runs:
        for entry in _entries(run, question, value or figure):
            row, col = (_label(entry, keys) for keys in (question.rows, question.cols))
            other = cells.setdefault((row, col), {}).setdefault(run.record.seed, entry)
            if other is not entry:
                raise UserError(
                    f"{other.run.source} and {run.source} are runs of the same cell ({label_text((*row, *col))}) and seed "
                    f"{run.record.seed}; leave one of them out"
                )
    rows = sorted({row for row, _ in cells}, key=order_of)
    cols = sorted({col for _, col in cells}, key=order_of)
    permit = ",".join(question.allow)
    notes = [
        f"{name} differs between these runs ({values}), which allow={permit} lets pass" for name, values in allowed
    ]
    return Grid(question, tuple(rows), tuple(cols), cells, (*notes, *_surroundings(runs)))


def _entries(run: SavedRun, question: Question, value: Callable[[SavedRun, str, str], float]) -> Iterator[Entry]:
    if RULE in question.keys:
        group = MetricName.parse(question.metric).group
        for rule in rules_of(run, question.metric):
            yield Entry(run, value(run, accuracy(group, rule), question.select) * question.scale, rule)
    else:
        yield Entry(run, value(run, question.metric, question.select) * question.scale)


def _label(entry: Entry, keys: Sequence[str]) -> Label:
    values = [entry.rule if key == RULE else value_of(entry.run, key) for key in keys]
    return tuple(comparable(value) if isinstance(value, list | dict) else value for value in values)


def figure(run: SavedRun, metric: str, select: str) -> float:
    """A figure of a run.

    Args:
        run: The run.
        metric: Name of the metric.
        select: Which epochs, see ``Question``.

    Raises:
        UserError: If the run has no such figure.
    """
    kept = run.record.metrics.get(select, {})
    if metric in kept and metric not in ("epoch", "step", "epochs"):
        return float(kept[metric])
    rows: list[Row] = []
    if run.history and select == "mean_of_last":
        rows = tail_of(run.history, run.last_epochs)
    elif select == "best_val" and kept:
        rows = [row for row in run.history if row["epoch"] == kept["epoch"]]
    values = [row[metric] for row in rows if metric in row]
    if values:
        return sum(values) / len(values)
    known = sorted(run.record.metrics.get("last", {}).keys() - {"epoch", "step"})
    if select not in run.record.metrics:
        splits = ", ".join(splits_measured(name for name in known if is_accuracy(name))) or "no split"
        raise UserError(f"{run.source} has no select={select}; it was measured on {splits}")
    # Runs without clean labels may have no test split; the accuracy on the validation split is what is left.
    other = accuracy(VAL)
    instead = f"; use metric={other}" if is_accuracy(metric) and other in known and metric != other else ""
    raise UserError(f"{run.source} has no {metric} for select={select}; its metrics are {', '.join(known)}{instead}")


def _surroundings(runs: Sequence[SavedRun]) -> Iterator[str]:
    """What differs between machines and versions, which no result should depend on but speed does."""
    for package in sorted({name for run in runs for name in run.record.versions}):
        versions = sorted({run.record.versions.get(package, "none") for run in runs})
        if len(versions) > 1:
            yield f"these runs used several versions of {package}: {', '.join(versions)}"
    revisions = {str((run.record.git or {}).get("revision")) for run in runs}
    if len(revisions) > 1:
        yield f"these runs are from {len(revisions)} revisions of the source tree"
    changed = sum(bool((run.record.git or {}).get("changed")) for run in runs)
    if changed:
        yield f"{changed} of {len(runs)} runs are from a source tree with changes that no revision has"
    for what, values in (
        ("processors", {str(run.record.hardware.get("cpu")) for run in runs}),
        ("accelerators", {str(run.record.hardware.get("gpus")) for run in runs}),
        ("precisions", {run.record.precision for run in runs}),
    ):
        if len(values) > 1:
            yield f"these runs are from several {what}: {', '.join(sorted(values))}"


def best_epoch_split(select: str) -> str | None:
    """The split on which epochs are selected, or None."""
    return {"best_val": VAL, "best_test": "test"}.get(select)
