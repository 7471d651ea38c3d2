"""What the runs of a report were: data, noise, network and length."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from alasca_pl.core.metric_names import TEST, VAL, MetricName, is_accuracy
from alasca_pl.core.record import listed_by_reason
from alasca_pl.report.grid import Grid
from alasca_pl.report.keys import RULE
from alasca_pl.report.paper import settings_of
from alasca_pl.report.saved import SavedRun
from alasca_pl.report.summary import HEADS

# More than these are counted instead.
_MOST = 6


def what_was_run(grid: Grid) -> list[str]:
    """One line for each thing that a reader must know of all runs; several values where runs differ."""
    runs = list(grid.runs())
    facts: dict[str, Callable[[SavedRun], Any]] = {
        "data": lambda run: run.record.data.name,
        "training images": lambda run: settings_of(run)["training images"],
        "noise": _noise,
        "network": lambda run: settings_of(run)["network"],
        "epochs": lambda run: settings_of(run)["epochs"],
        "last epochs that are averaged": lambda run: min(run.last_epochs, settings_of(run)["epochs"] or 0),
        "precision": lambda run: run.record.precision,
    }
    lines = [*_meaning(grid, runs), *(f"{name}: {_listed(fact(run) for run in runs)}" for name, fact in facts.items())]
    rates = [run.record.noise.realised_rate for run in runs if run.record.noise.realised_rate is not None]
    if rates:
        span = f"{min(rates):.1%}" if min(rates) == max(rates) else f"{min(rates):.1%} to {max(rates):.1%}"
        place = next(place for place, line in enumerate(lines) if line.startswith("noise: "))
        lines.insert(place + 1, f"wrong training labels: {span}")
    silent = listed_by_reason((run.source, run.record.inactive) for run in runs)
    return lines + [
        f"{remark} ({len(names)} of {len(runs)} runs: {', '.join(names)})" for remark, names in silent.items()
    ]


def _meaning(grid: Grid, runs: Sequence[SavedRun]) -> list[str]:
    """What an accuracy is of: the split, and what predicts."""
    metric = grid.question.metric
    if RULE in grid.question.keys or not is_accuracy(metric):
        return []
    its = MetricName.parse(metric)
    chosen = its.quantity.removeprefix("acc").removeprefix("_")
    rules = {chosen or str(run.record.predict.get("rule", "main")) for run in runs}
    split = {TEST: "test split", VAL: "validation split"}.get(its.group, f"split {its.group}")
    return [f"{metric}: accuracy on the {split}, predicted by the {_listed(HEADS.get(rule, rule) for rule in rules)}"]


def _noise(run: SavedRun) -> str:
    noise = run.record.noise
    if noise.kind == "none":
        return "labels as given"
    return noise.kind if noise.rate is None else f"{noise.kind}, nominal rate {noise.rate:g}"


def _listed(values: Iterable[Any]) -> str:
    found = sorted({str(value) for value in values if value is not None}, key=lambda text: (len(text), text))
    return "; ".join(found) if len(found) <= _MOST else f"{len(found)} different ones"
