"""What the runs of a report were: data, noise, network and length."""

from collections.abc import Callable, Iterable
from typing import Any

from alasca_pl.core.record import listed_by_reason
from alasca_pl.report.grid import Grid
from alasca_pl.report.paper import settings_of
from alasca_pl.report.saved import SavedRun

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
        "epochs that a mean of the last covers": lambda run: min(run.last_epochs, settings_of(run)["epochs"] or 0),
        "precision": lambda run: run.record.precision,
    }
    lines = [f"{name}: {_listed(fact(run) for run in runs)}" for name, fact in facts.items()]
    rates = [run.record.noise.realised_rate for run in runs if run.record.noise.realised_rate is not None]
    if rates:
        span = f"{min(rates):.1%}" if min(rates) == max(rates) else f"{min(rates):.1%} to {max(rates):.1%}"
        lines.insert(3, f"wrong training labels: {span}")
    silent = listed_by_reason((run.source, run.record.inactive) for run in runs)
    return lines + [
        f"{remark} ({len(names)} of {len(runs)} runs: {', '.join(names)})" for remark, names in silent.items()
    ]


def _noise(run: SavedRun) -> str:
    noise = run.record.noise
    if noise.kind == "none":
        return "labels as given"
    return noise.kind if noise.rate is None else f"{noise.kind}, nominal rate {noise.rate:g}"


def _listed(values: Iterable[Any]) -> str:
    found = sorted({str(value) for value in values if value is not None}, key=lambda text: (len(text), text))
    return ", ".join(found) if len(found) <= _MOST else f"{len(found)} different ones"
