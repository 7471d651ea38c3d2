"""Pictures of what happens to clean and to noisy samples: confidences, and norms that were measured on checkpoints."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from alasca_pl.core.measurement import Measurement
from alasca_pl.core.metric_names import (
    CONFIDENCE_CLEAN,
    CONFIDENCE_CLEAN_STD,
    CONFIDENCE_WRONG,
    CONFIDENCE_WRONG_STD,
    TRAIN,
    of_quantity,
)
from alasca_pl.report.grid import Grid, Label, label_text
from alasca_pl.report.plots import band, numbers_of_columns, places_of
from alasca_pl.report.saved import SavedRun
from alasca_pl.report.style import (
    CLEAN,
    NOISY,
    epochs_below,
    legend_below,
    line_style,
    panels,
    plain,
    sparse_markers,
    y_label,
)

_MOST_LINES = 20
_FILLS = {"clean": ("white", ""), "noisy": ("#BBBBBB", "////"), "all": ("white", "")}


@dataclass(frozen=True)
class Confidence:
    """Confidence in the given labels by epoch, of one part in one cell.

    Attributes:
        title: Of what.
        epochs: From 1.
        means: By ``clean`` and ``noisy`` samples: means over samples and runs.
        stds: Likewise, standard deviations over samples, averaged over runs.
    """

    title: str
    epochs: list[int]
    means: Mapping[str, list[float]]
    stds: Mapping[str, list[float]]


def confidences(grid: Grid) -> list[Confidence]:
    """Confidences of all cells with a part that has one: first the networks' own, then the part's."""
    found = []
    for row in grid.rows:
        for col in grid.cols:
            runs = [entry.run for entry in grid.cell(row, col).values()]
            groups = sorted({name.group for run in runs for name, _ in of_quantity(_everything(run), CONFIDENCE_CLEAN)})
            parts = [group for group in groups if group != TRAIN]
            for group in [*(group for group in groups if group == TRAIN and parts), *parts]:
                what = "instantaneous" if group == TRAIN else f"of {group}"
                title = " · ".join(text for text in (label_text(row), label_text(col), what) if text)
                found += _confidence(runs, group, title)
    return found


def _everything(run: SavedRun) -> dict[str, float]:
    return {name: value for line in run.history for name, value in line.items()}


def _confidence(runs: Sequence[SavedRun], group: str, title: str) -> list[Confidence]:
    quantities = {
        "clean": (CONFIDENCE_CLEAN, CONFIDENCE_CLEAN_STD),
        "noisy": (CONFIDENCE_WRONG, CONFIDENCE_WRONG_STD),
    }
    by_epoch: dict[int, dict[str, list[float]]] = {}
    for run in runs:
        for line in run.history:
            for quantity in (each for pair in quantities.values() for each in pair):
                its = [value for name, value in of_quantity(line, quantity) if name.group == group]
                if its:
                    place = by_epoch.setdefault(int(line["epoch"]) + 1, {})
                    place.setdefault(quantity, []).append(sum(its) / len(its))
    epochs = sorted(epoch for epoch, its in by_epoch.items() if {CONFIDENCE_CLEAN, CONFIDENCE_WRONG} <= its.keys())
    if not epochs:
        return []
    means, stds = (
        {
            word: [float(np.mean(by_epoch[epoch].get(pair[which], [0.0]))) for epoch in epochs]
            for word, pair in quantities.items()
        }
        for which in (0, 1)
    )
    return [Confidence(title, epochs, means, stds)]


def draw_confidences(shown: Sequence[Confidence]) -> Figure:
    """One panel each, with bands of one standard deviation over the samples."""
    figure, axes = panels(len(shown))
    for axis, its in zip(axes, shown):
        for number, (word, style) in enumerate((("clean", CLEAN), ("noisy", NOISY))):
            marks = sparse_markers(len(its.epochs), number)
            axis.plot(its.epochs, its.means[word], label=f"{word} samples", markevery=marks, **style)
            band(axis, its.epochs, its.means[word], its.stds[word], style["color"])
        axis.set_title(plain(its.title), fontsize="small")
        axis.set_ylim(-0.02, 1.02)
        epochs_below(axis)
        y_label(axis, "confidence in the given label")
        axis.grid(alpha=0.3)
    legend_below(figure, axes)
    return figure


def measured_names(grid: Grid, what: str) -> list[str]:
    """Names of the measurements of a kind that some run has."""
    return sorted({name for run in grid.runs() for name, its in run.measured.items() if its.what == what})


def measurements(grid: Grid, row: Label, col: Label, name: str) -> list[Measurement]:
    """Measurements of a name in a cell, one per run that has it."""
    runs = [entry.run for entry in grid.cell(row, col).values()]
    # Another rule of prediction of the same run is the same network.
    return [run.measured[name] for run in {id(run): run for run in runs}.values() if name in run.measured]


def differing_settings(grid: Grid, name: str) -> list[str]:
    """Settings in which the measurements of a name differ, so that they cannot be compared."""
    found: dict[str, set[str]] = {}
    for run in grid.runs():
        if name in run.measured:
            for key, value in run.measured[name].settings.items():
                found.setdefault(key, set()).add(repr(value))
    return sorted(key for key, values in found.items() if len(values) > 1)


def draw_boxes(grid: Grid, name: str) -> Figure:
    """Distributions of a norm over the samples of all runs of a cell, clean and noisy ones apart, with their means.

    The settings in the columns lie along the axis if they are numbers, with a panel for each row; else the rows do.
    """
    layout = _layout(grid, name)
    figure, axes = panels(len(layout.panels), width=max(4.2, 0.75 * len(layout.ticks)))
    words: dict[str, None] = {}
    what = ""
    for axis, (title, cells) in zip(axes, layout.panels):
        line: dict[str, list[tuple[float, float]]] = {}
        for place, cell in zip(layout.places, cells):
            pooled: dict[str, list[float]] = {}
            for its in measurements(grid, *cell, name):
                what = f"{'Jacobian' if its.what == 'jacobian' else 'Euclidean'} norm of {its.settings.get('of', 'features')}"
                for word, values in its.split_by_noise().items():
                    pooled.setdefault(word, []).extend(values)
            words |= dict.fromkeys(pooled)
            for number, (word, values) in enumerate(sorted(pooled.items())):
                if not values:
                    continue
                where = place + layout.step * 0.3 * (number - (len(pooled) - 1) / 2)
                _box(axis, where, values, 0.26 * layout.step, word)
                line.setdefault(word, []).append((where, float(np.mean(values))))
        for word, points in line.items():
            style = NOISY if word == "noisy" else CLEAN
            places, means = zip(*points)
            joined = style if layout.numeric else {**style, "linestyle": ""}
            axis.plot(places, means, **joined)
        _dress(axis, layout, title)
        y_label(axis, what)
    axes[0].set_ylim(bottom=0)
    patches = [
        Patch(facecolor=_FILLS[word][0], hatch=_FILLS[word][1], edgecolor="black", label=f"{word} samples")
        for word in sorted(words)
    ]
    legend_below(figure, axes, patches)
    return figure


def draw_class_norms(grid: Grid, name: str) -> Figure:
    """Mean norm of each class, averaged over runs; above 20 classes the mean over classes with the range of all."""
    layout = _layout(grid, name)
    figure, axes = panels(len(layout.panels), width=max(4.2, 0.75 * len(layout.ticks)))
    for axis, (title, cells) in zip(axes, layout.panels):
        points: list[tuple[float, list[float]]] = []
        names: list[str] = []
        for place, cell in zip(layout.places, cells):
            found = measurements(grid, *cell, name)
            if found:
                names = found[0].class_names
                rows = np.array([[np.nan if one is None else one for one in its.class_means()] for its in found])
                points.append((place, rows.mean(axis=0).tolist()))
        places = [place for place, _ in points]
        table = np.array([values for _, values in points])
        if table.size and table.shape[1] <= _MOST_LINES:
            for number in range(table.shape[1]):
                axis.plot(places, table[:, number], label=plain(names[number]), **line_style(number))
        elif table.size:
            axis.plot(places, np.nanmean(table, axis=1), label="mean over classes", **line_style(0))
            axis.fill_between(
                places, np.nanmin(table, axis=1), np.nanmax(table, axis=1), alpha=0.2, label="all classes"
            )
        _dress(axis, layout, title)
        y_label(axis, "mean norm of the representation")
    axes[0].set_ylim(bottom=0)
    legend_below(figure, axes)
    return figure


@dataclass(frozen=True)
class _Layout:
    """Where cells stand: panels with titles and cells, and places, ticks and name of the axis."""

    panels: list[tuple[str, list[tuple[Label, Label]]]]
    places: list[float]
    ticks: list[str]
    axis: str
    step: float
    numeric: bool


def _layout(grid: Grid, name: str) -> _Layout:
    numbers = numbers_of_columns(grid)
    if numbers is None:
        rows = [row for row in grid.rows if any(measurements(grid, row, col, name) for col in grid.cols)]
        whole = [(label_text(col), [(row, col) for row in rows]) for col in grid.cols]
        places: list[float] = [float(place) for place in range(len(rows))]
        ticks, axis = [label_text(row) for row in rows], ", ".join(grid.question.rows)
    else:
        whole = [(label_text(row), [(row, col) for col in grid.cols]) for row in grid.rows]
        places = places_of(numbers)[0]
        ticks, axis = [f"{number:g}" for number in numbers], grid.question.cols[0]
    kept = [(title, cells) for title, cells in whole if any(measurements(grid, *cell, name) for cell in cells)]
    ordered = sorted(places)
    step = min((b - a for a, b in itertools.pairwise(ordered)), default=1.0)
    return _Layout(kept, places, ticks, axis, step, numbers is not None)


def _box(axis: Axes, place: float, values: Sequence[float], width: float, word: str) -> None:
    colour, hatch = _FILLS[word]
    drawn = axis.boxplot(
        [list(values)], positions=[place], widths=width, whis=(5, 95), showfliers=False, patch_artist=True,
        manage_ticks=False, medianprops={"color": "black"},
    )  # fmt: skip
    drawn["boxes"][0].set(facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.8)


def _dress(axis: Axes, layout: _Layout, title: str) -> None:
    axis.set_title(plain(title), fontsize="medium")
    slanted = sum(map(len, layout.ticks)) > 40
    axis.set_xticks(layout.places, [plain(tick) for tick in layout.ticks], rotation=30 if slanted else 0)
    if slanted:
        for label in axis.get_xticklabels():
            label.set_horizontalalignment("right")
    axis.set_xlabel(layout.axis)
    axis.grid(alpha=0.3, axis="y")
