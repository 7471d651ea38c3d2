"""Tables, JSON and a picture of what was measured."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from alasca_pl.bench.suite import CE, Measured
from alasca_pl.bench.turns import Result, ratio, spread
from alasca_pl.report.style import COLOURS, file_of, panels, plain

FORMAT = "alasca_pl bench 1"
_FLOOR = "bare network"
_TITLES = {
    "loading": "Loading one epoch", "step": "One training step", "heads": "One training step, auxiliary classifiers",
    "methods": "One training step, methods", "epoch": "One epoch with evaluation, logging and checkpoint",
    "peers": "One epoch, and as a user would write it", "startup": "Start of a process",
}  # fmt: skip


def base_of(results: Sequence[Result]) -> Result:
    """The case that ratios are of: cross-entropy, or the first one where there is none."""
    return next((result for result in results if result.name == CE), results[0])


def floor_of(results: Sequence[Result]) -> Result | None:
    """The bare network in the layout that took less CPU time, or None if it was not measured."""
    floors = [result for result in results if result.name.startswith(_FLOOR)]
    return min(floors, key=lambda result: statistics.median(result.cpu), default=None)


def tables(measured: Measured, on_gpu: bool) -> list[Table]:
    """One table for each thing that was measured; ratios are of CPU time, or of wall time on a GPU."""
    return [_table(what, results, on_gpu) for what, results in measured.results.items()]


def _table(what: str, results: Sequence[Result], on_gpu: bool) -> Table:
    base, floor = base_of(results), floor_of(results)
    shows = {
        "memory": any(result.memory for result in results),
        "flops": any(result.flops for result in results),
        "paper": any(result.paper for result in results),
        "images": any(result.images for result in results),
    }
    table = Table(title=_TITLES[what], title_justify="left", box=SIMPLE)
    table.add_column("what")
    heads = ["wall ms", "CPU ms", "±", f"× {base.name} (range)"]
    heads += ["× floor"] * (floor is not None) + ["images/s"] * shows["images"]
    heads += ["MB", f"× {base.name}"] * shows["memory"] + ["GFLOPs/image"] * shows["flops"]
    heads += ["paper: time", "memory"] * shows["paper"]
    for head in heads:
        table.add_column(head, justify="right")
    for result in results:
        middle, low, high = ratio(_times(result, on_gpu), _times(base, on_gpu))
        cells = [
            result.name,
            f"{1000 * statistics.median(result.wall):.1f}",
            f"{1000 * statistics.median(result.cpu):.1f}",
            f"{spread(_times(result, on_gpu)):.0%}",
            f"{middle:.2f} ({low:.2f}-{high:.2f})",
        ]
        if floor is not None:
            cells.append(f"{ratio(_times(result, on_gpu), _times(floor, on_gpu))[0]:.2f}")
        if shows["images"]:
            cells.append(f"{result.images / statistics.median(result.wall):.0f}" if result.images else "")
        if shows["memory"]:
            cells.append(f"{result.memory / 1e6:.1f}" if result.memory else "")
            cells.append(f"{result.memory / base.memory:.2f}" if result.memory and base.memory else "")
        if shows["flops"]:
            cells.append(f"{result.flops / 1e9:.3f}" if result.flops else "")
        if shows["paper"]:
            cells += [f"{value:.1f}×" for value in result.paper] if result.paper else ["", ""]
        table.add_row(*cells)
    return table


def _times(result: Result, on_gpu: bool) -> list[float]:
    return result.wall if on_gpu else result.cpu


def as_json(measured: Measured, about: Mapping[str, Any]) -> dict[str, Any]:
    """All times of all rounds, with what they were measured on.

    Args:
        measured: What was measured.
        about: Options, hardware and versions.
    """
    return {
        "format": FORMAT,
        **about,
        "threads": measured.threads,
        "precision": measured.precision,
        "results": {what: [asdict(result) for result in results] for what, results in measured.results.items()},
    }


def picture(measured: Measured, on_gpu: bool) -> bytes:
    """Bars of the medians as PNG, with the range of the rounds; the paper's ratios as marks."""
    most = max(len(results) for results in measured.results.values())
    figure, axes = panels(len(measured.results), width=5.2, height=1.2 + 0.28 * most, sharey=False)
    for axis, (what, results) in zip(axes, measured.results.items(), strict=True):
        base = base_of(results)
        for place, result in enumerate(reversed(results)):
            middle, low, high = ratio(_times(result, on_gpu), _times(base, on_gpu))
            colour = COLOURS[1] if result is base else COLOURS[5] if result.name.startswith(_FLOOR) else COLOURS[0]
            axis.barh(place, middle, xerr=[[middle - low], [high - middle]], color=colour, height=0.7)
            if result.paper:
                axis.plot(result.paper[0], place, marker="D", color=COLOURS[6], markersize=5, linestyle="none")
        axis.set_yticks(range(len(results)), [plain(result.name) for result in reversed(results)], fontsize="small")
        axis.axvline(1.0, color="#888888", linewidth=0.8)
        marks = "; ◆ the paper's" if any(result.paper for result in results) else ""
        axis.set_xlabel(f"{'wall' if on_gpu else 'CPU'} time / {plain(base.name)}{marks}")
        axis.set_title(_TITLES[what], fontsize="medium")
    return file_of(figure, "png")
