"""Runs in rows and columns, and what does not belong together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import identity
from alasca_pl.core.metric_names import VAL, MetricName, accuracy, is_accuracy, splits_measured
from alasca_pl.core.rows import Row
from alasca_pl.report.keys import (
    ABSENT,
    RULE,
    belongs,
    check_key,
    comparable,
    homes,
    order_of,
    rules_of,
    text_of,
    value_of,
)
from alasca_pl.report.saved import Found, SavedRun
from alasca_pl.report.statistics import mean_and_std
from alasca_pl.report.summary import tail_of

Label = tuple[Any, ...]
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
        against: Label of the row that the others are compared with; empty for the first row.
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
    return ", ".join(text_of(value) for value in label) or "all"


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
    allowed = _check_differences(runs, question)
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
    notes = [f"{name} differs between these runs ({values}), which allow={name} lets pass" for name, values in allowed]
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
    raise UserError(f"{run.source} has no {metric} for select={select}; its metrics are {', '.join(known)}")


def flat(run: SavedRun) -> dict[str, Any]:
    """What can change the result of a run, by dotted names; data and split as they turned out among them."""
    added: dict[str, Any] = {"data.sha256": run.record.data.sha256}
    settings = run.record.config.get("report")
    if isinstance(settings, Mapping) and "last_epochs" in settings:
        # Without effect on the training, but on what is reported of it.
        added["report.last_epochs"] = settings["last_epochs"]
    return identity(run.record.config) | added


def own_keys(question: Question) -> tuple[str, ...]:
    """Beginnings of names that may differ, because rows, columns and seed own them."""
    return homes((*question.keys, "seed"))


def constants_of(run: SavedRun) -> set[str]:
    """Names that the applied constants of a run's method set; those that they may set where the record does not say which."""
    record = run.record
    if record.constants and not record.constants_set:
        return {"suggested", "optim"}
    return set(record.constants_set)


def _column(name: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Values of a name; a run of an earlier version that lacks an option is as one that has it off."""
    came_later = any(name not in config for config in configs)
    nothing: tuple[Any, ...] = (None, False, {}, []) if came_later else (None,)
    off = {comparable(value) for value in nothing}
    values = [comparable(config.get(name)) for config in configs]
    return [comparable(ABSENT) if value in off else value for value in values]


def _check_differences(runs: Sequence[SavedRun], question: Question) -> list[tuple[str, str]]:
    """Refuse runs that differ outside rows, columns and seed; return what was allowed to."""
    configs = [flat(run) for run in runs]
    names = sorted({name for config in configs for name in config})
    columns = {name: _column(name, configs) for name in names}
    differing = {name for name in names if len(set(columns[name])) > 1}
    owned = own_keys(question)
    fixed = set().union(*(constants_of(run) for run in runs)) if "method" in question.keys else set()
    free = {name for name in differing if belongs(name, owned) or belongs(name, tuple(fixed))}
    # What follows a free value by interpolation, e.g. noise.seed the seed.
    values = [columns[name] for name in free]
    values += [[comparable(value_of(run, key)) for run in runs] for key in question.keys if key != RULE]
    outside = {name for name in differing - free if columns[name] not in values}
    allowed = _allowed(outside, columns, question.allow)
    _refuse(outside - allowed, columns, "outside rows, columns and seed")
    cells: dict[str, list[int]] = {}
    keys = [key for key in question.keys if key != RULE]
    for place, run in enumerate(runs):
        cells.setdefault(comparable([value_of(run, key) for key in keys]), []).append(place)
    seeds = [comparable(run.record.seed) for run in runs]
    let_pass = set(allowed)
    for places in cells.values():
        inside = {
            name: [columns[name][place] for place in places]
            for name in sorted(differing)
            if len({columns[name][place] for place in places}) > 1
        }
        own = [seeds[place] for place in places]
        wrong = {name for name, column in inside.items() if column != own}
        let_pass |= _allowed(wrong, inside, question.allow)
        _refuse(wrong - let_pass, inside, "within one cell")
    return [(name, _values(columns[name])) for name in sorted(let_pass)]


def _allowed(names: set[str], columns: Mapping[str, Sequence[str]], allow: Sequence[str]) -> set[str]:
    """Those that are let pass, with those that follow one of them in all runs, as trainer.max_epochs follows epochs."""
    own = {name for name in names if belongs(name, allow)}
    values = [columns[name] for name in own]
    return {name for name in names if columns[name] in values}


def _refuse(names: set[str], columns: Mapping[str, Sequence[str]], where: str) -> None:
    if names:
        # Of those that follow each other the shortest.
        leading: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (len(name), name)):
            leading.setdefault(repr(columns[name]), name)
        listing = "; ".join(f"{name} ({_values(columns[name])})" for name in sorted(names))
        first, every = min(leading.values()), ",".join(sorted(leading.values()))
        raise UserError(
            f"these runs differ {where}: {listing}; make it a row or column (rows=...,{first}), keep to one value "
            f"(where={first}=VALUE), or let it pass and be said on the page (allow={every})"
        )


def _values(column: Sequence[str]) -> str:
    values = sorted(set(column))
    return ", ".join(value.strip('"') for value in values[:6]) + (", ..." if len(values) > 6 else "")


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
