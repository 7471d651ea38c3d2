"""What runs cost: time, memory, parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alasca_pl.report.grid import Grid, Label
from alasca_pl.report.keys import is_plain_ce
from alasca_pl.report.saved import SavedRun


@dataclass(frozen=True)
class Cost:
    """Means over the runs of a row in one column.

    Attributes:
        row: Label of the row.
        col: Label of the column.
        n: Number of runs.
        seconds: Per epoch, measurements of the run included.
        memory: Peak in megabytes: of the accelerator, else of the process with its libraries.
        parameters: Trained ones of all networks with their auxiliary heads, or None if the records do not say.
        flops: Floating-point operations of a forward pass of all networks with their auxiliary heads for one image, or None.
        relative: The same four over those of cross-entropy in the same column; None where there is none on the same hardware.
    """

    row: Label
    col: Label
    n: int
    seconds: float | None
    memory: float | None
    parameters: float | None
    flops: float | None
    relative: tuple[float | None, ...]


def costs(grid: Grid) -> list[Cost]:
    """Costs of all cells."""
    found = []
    for col in grid.cols:
        base = _base(grid, col)
        seen: list[set[int]] = []
        for row in grid.rows:
            entries = list(grid.cell(row, col).values())
            runs = {id(entry.run) for entry in entries}
            # Another rule of prediction of the same runs costs the same.
            if entries and runs not in seen:
                seen.append(runs)
                own = _measure([each.run for each in entries])
                against: tuple[float | None, ...] = (None,) * len(own)
                if base and {hardware_of(each) for each in base} == {hardware_of(each.run) for each in entries}:
                    against = tuple(mine / its if mine and its else None for mine, its in zip(own, _measure(base)))
                found.append(Cost(row, col, len(entries), *own, against))
    return found


def _base(grid: Grid, col: Label) -> list[SavedRun]:
    """Runs of cross-entropy alone."""
    runs = [entry.run for row in grid.rows for entry in grid.cell(row, col).values() if is_plain_ce(entry.run)]
    return list({id(run): run for run in runs}.values())


def _measure(runs: Sequence[SavedRun]) -> tuple[float | None, float | None, float | None, float | None]:
    return (
        _mean([seconds_per_epoch(run) for run in runs]),
        _mean([_memory(run) for run in runs]),
        _mean([_of_networks(run, run.record.parameters) for run in runs]),
        _mean([_of_networks(run, run.record.flops) for run in runs]),
    )


def seconds_per_epoch(run: SavedRun) -> float | None:
    """Seconds of an epoch, measurements of the run included, or None if the record does not say."""
    epochs = len(run.history) or run.record.config.get("epochs")
    total = run.record.duration_seconds
    return total / epochs if total is not None and epochs else None


def _memory(run: SavedRun) -> float | None:
    peaks = run.record.peak_memory_mb
    accelerators = [value for name, value in peaks.items() if name != "process"]
    return float(sum(accelerators)) if accelerators else float(peaks["process"]) if "process" in peaks else None


def _of_networks(run: SavedRun, counts: Mapping[str, int]) -> float | None:
    count = sum(counts.values())
    networks = run.record.config.get("num_networks", 1)
    return float(count * networks) if count and isinstance(networks, int) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    # A mean over some of the runs would be of others than the cell's.
    return sum(known) / len(known) if known and len(known) == len(values) else None


def hardware_of(run: SavedRun) -> tuple[Any, ...]:
    """What must be equal where times are compared."""
    its = run.record.hardware
    return its.get("cpu"), its.get("threads"), str(its.get("gpus")), run.record.precision, run.record.processes
