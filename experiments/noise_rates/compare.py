"""Compare estimates of the noise with the truth. Usage: python compare.py RUNS_OR_CSV PICTURE.png [ESTIMATES.csv]

Reads runs of experiment=noise_rates, as alasca-report does, or a file that this has written. Tables are printed, the picture has
the errors by epoch.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alasca_pl import load_runs
from alasca_pl.report.keys import value_of
from alasca_pl.report.style import epochs_below, file_of, legend_below, line_style, panels, sparse_markers, y_label

RATE, ERROR = "noise_rate", "matrix_error"
MATRICES = ("anchor", "dual_t", "consensus")
# Smaller of two estimates.
SMALLER = {"mixture or confident": ("mixture", "confident"), "mixture or consensus": ("mixture", "consensus")}
NAMES = {RATE: ("mixture", "confident", *MATRICES, *SMALLER), ERROR: MATRICES}
METRICS = [f"{RATE}/{name}" for name in ("true", "mixture", "confident", *MATRICES)] + [
    f"{ERROR}/{m}" for m in MATRICES
]


class Estimates(NamedTuple):
    """What a run logged, each metric (epochs,)."""

    size: int
    setting: str
    seed: int
    metrics: dict[str, np.ndarray]

    def of(self, group: str, name: str) -> np.ndarray:
        """An estimated rate, or the error of a matrix."""
        if name in SMALLER:
            return np.minimum(*(self.of(group, each) for each in SMALLER[name]))
        return self.metrics[f"{group}/{name}"]

    def error(self, group: str, name: str) -> np.ndarray:
        """Absolute error of a rate, or the error of a matrix."""
        return self.of(group, name) if group == ERROR else np.abs(self.of(group, name) - self.of(group, "true"))


def read(place: str) -> list[Estimates]:
    """Read runs, or the file that ``write`` has written."""
    rows: dict[tuple[int, str, int], list[dict]] = {}
    if place.endswith(".csv"):
        with Path(place).open(newline="") as file:
            for row in csv.DictReader(file):
                rows.setdefault((int(row["size"]), row["setting"], int(row["seed"])), []).append(row)
    else:
        for run in load_runs(place):
            key = (
                int(value_of(run, "data.max_train_samples")),
                str(value_of(run, "setting")),
                int(value_of(run, "seed")),
            )
            rows[key] = list(run.history)
    return [
        Estimates(*key, {m: np.array([float(row[m]) for row in own]) for m in METRICS})
        for key, own in sorted(rows.items())
    ]


def write(runs: list[Estimates], path: Path) -> None:
    """Write one line per run and epoch."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["size", "setting", "seed", "epoch", *METRICS])
        for run in runs:
            for epoch, values in enumerate(zip(*(run.metrics[metric] for metric in METRICS))):
                table.writerow([*run[:3], epoch, *(f"{value:.4f}" for value in values)])


def by_setting(runs: list[Estimates], of_run: Callable[[Estimates], np.ndarray]) -> np.ndarray:
    """Mean over seeds, (settings, epochs)."""
    settings = defaultdict(list)
    for run in runs:
        settings[run.setting].append(of_run(run))
    return np.array([np.mean(values, axis=0) for values in settings.values()])


def print_tables(runs: list[Estimates], epochs: list[int]) -> None:
    """Print errors, means over settings, and the rates of each setting."""
    head = " | ".join(f"after {epoch}" for epoch in epochs)
    for group, names in NAMES.items():
        print(f"\n| {group} | {head} | largest after {epochs[1]} | change per epoch |")
        print("| --- |" + " ---: |" * (len(epochs) + 2))
        for name in names:
            rows = by_setting(runs, lambda run, group=group, name=name: run.error(group, name))
            moves = np.mean([np.abs(np.diff(run.of(group, name))).mean() for run in runs])
            cells = [f"{rows[:, epoch - 1].mean():.3f}" for epoch in epochs]
            print(f"| {name} | {' | '.join(cells)} | {rows[:, epochs[1] - 1].max():.3f} | {moves:.3f} |")
    settings = list(dict.fromkeys(run.setting for run in runs))
    print("\n| after | estimate | " + " | ".join(settings) + " |\n| ---: | --- |" + " ---: |" * len(settings))
    for epoch in epochs:
        for name in ("true", *NAMES[RATE]):
            rows = by_setting(runs, lambda run, name=name: run.of(RATE, name))
            print(f"| {epoch} | {name} | " + " | ".join(f"{value:.3f}" for value in rows[:, epoch - 1]) + " |")


def main(place: str, picture: str, estimates: str | None = None) -> None:
    """Print the tables, draw the picture, and write the estimates if asked to."""
    sizes = defaultdict(list)
    runs = read(place)
    for run in runs:
        sizes[run.size].append(run)
    drawing, axes = panels(2 * len(sizes), width=4.4, height=3.2)
    for number, (size, own) in enumerate(sorted(sizes.items())):
        count = len(own[0].of(RATE, "true"))
        print(f"\n{size:,} images, {len(own)} runs")
        print_tables(own, [4, 10, 20, count] if count > 20 else [4, 8, count])
        for (group, names), axis in zip(NAMES.items(), axes[2 * number : 2 * number + 2]):
            for name in names:
                mean = by_setting(own, lambda run, group=group, name=name: run.error(group, name)).mean(axis=0)
                place_of_style = NAMES[RATE].index(name)
                style = line_style(place_of_style) | {"markevery": sparse_markers(count, place_of_style)}
                axis.plot(np.arange(1, count + 1), mean, label=name, **style)
            axis.set_title(f"{'rate' if group == RATE else 'matrix'}, {size:,} images", fontsize="medium")
            epochs_below(axis)
            axis.grid(alpha=0.3)
            y_label(axis, "error, mean over settings")
    legend_below(drawing, axes)
    Path(picture).write_bytes(file_of(drawing, "png"))
    if estimates is not None:
        write(runs, Path(estimates))


if __name__ == "__main__":
    main(*sys.argv[1:])
