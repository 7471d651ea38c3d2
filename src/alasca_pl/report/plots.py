"""Pictures of many runs: curves by epoch, differences, values against a setting."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alasca_pl.core.metric_names import MEMORISED, SELECT, MetricName, accuracy, is_accuracy
from alasca_pl.report.compare import Comparison
from alasca_pl.report.grid import Grid, Label, label_text
from alasca_pl.report.style import epochs_below, legend_below, line_style, panels, plain, sparse_markers, y_label

F1 = str(MetricName(SELECT, "f1"))
_AXES = {MEMORISED: "fraction of noisy labels memorised", F1: "F1 of the selection of clean samples"}


def mean_curves(
    grid: Grid, row: Label, col: Label, metric: str
) -> tuple[list[int], list[float], list[float], list[int]]:
    """Mean and standard deviation of a metric, by the rule of prediction of the cell if it has one, over its runs, by epoch.

    Returns:
        Epochs from 1 that at least one run has, means, standard deviations (0 for a single run), numbers of runs.
    """
    by_epoch: dict[int, list[float]] = {}
    scale = 100.0 if is_accuracy(metric) else 1.0
    for entry in grid.cell(row, col).values():
        name = metric if entry.rule is None else accuracy(MetricName.parse(metric).group, entry.rule)
        for line in entry.run.history:
            if name in line:
                by_epoch.setdefault(int(line["epoch"]) + 1, []).append(line[name] * scale)
    epochs = sorted(by_epoch)
    values = [np.asarray(by_epoch[epoch]) for epoch in epochs]
    stds = [float(each.std(ddof=1)) if len(each) > 1 else 0.0 for each in values]
    return epochs, [float(each.mean()) for each in values], stds, [len(each) for each in values]


def draw_curves(grid: Grid, metric: str) -> Figure:
    """Means over the seeds by epoch, with bands of one standard deviation; one panel per column in which a run has kept its
    epochs, of which there must be one.
    """
    columns = [col for col in grid.cols if any(mean_curves(grid, row, col, metric)[0] for row in grid.rows)]
    figure, axes = panels(len(columns))
    for axis, col in zip(axes, columns):
        for number, row in enumerate(grid.rows):
            epochs, means, stds, _ = mean_curves(grid, row, col, metric)
            if epochs:
                style = line_style(number)
                marks = sparse_markers(len(epochs), number)
                axis.plot(epochs, means, label=plain(label_text(row)), markevery=marks, **style)
                band(axis, epochs, means, stds, style["color"])
        axis.set_title(plain(column_title(grid, col)), fontsize="medium")
        epochs_below(axis)
        y_label(axis, _AXES.get(metric) or (f"{metric} (%)" if is_accuracy(metric) else metric))
        axis.grid(alpha=0.3)
    legend_below(figure, axes)
    return figure


def column_title(grid: Grid, col: Label) -> str:
    """A column's label, with its key where it is but a number."""
    return label_text(col) if numbers_of_columns(grid) is None else f"{grid.question.cols[0]} = {label_text(col)}"


def band(axis: Axes, places: Sequence[float], means: Sequence[float], stds: Sequence[float], colour: str) -> None:
    """A band of one standard deviation around means."""
    low, high = np.subtract(means, stds), np.add(means, stds)
    axis.fill_between(places, low, high, color=colour, alpha=0.16, linewidth=0)


def numbers_of_columns(grid: Grid) -> list[float] | None:
    """Values of the columns if they are those of one numeric setting, at least two; else None."""
    values = [col[0] for col in grid.cols if len(col) == 1]
    is_number = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    if len(values) < 2 or len(values) != len(grid.cols) or not all(is_number):
        return None
    return [float(value) for value in values]


def places_of(values: Sequence[float]) -> tuple[list[float], list[str] | None]:
    """Where values of a setting stand on an axis, and what is written there: values of different magnitude stand evenly."""
    known = [abs(value) for value in values if value]
    if known and max(known) / min(known) > 20:
        return [float(place) for place in range(len(values))], [f"{value:g}" for value in values]
    return list(values), None


def draw_against(grid: Grid) -> Figure:
    """The metric against the numeric setting in the columns, with bars of one standard deviation over the seeds."""
    values = numbers_of_columns(grid)
    assert values is not None
    places, ticks = places_of(values)
    question = grid.question
    figure, (axis,) = panels(1, width=6.0, height=3.6)
    for number, row in enumerate(grid.rows):
        known = [(place, grid.summary(row, col)) for place, col in zip(places, grid.cols)]
        points = [(place, its[0], its[1] or 0.0) for place, its in known if its is not None]
        if points:
            where, means, stds = zip(*points)
            axis.errorbar(where, means, stds, label=plain(label_text(row)), capsize=3, **line_style(number))
    if ticks is not None:
        axis.set_xticks(places, ticks)
    axis.set_xlabel(question.cols[0])
    axis.set_ylabel(f"{question.metric} (%)" if question.is_percent else question.metric)
    axis.grid(alpha=0.3)
    legend_below(figure, [axis])
    return figure


def draw_differences(comparisons: Sequence[Comparison], unit: str) -> Figure:
    """Mean differences with their confidence intervals, of those that have pairs."""
    shown = [each for each in comparisons if each.result is not None]
    figure = Figure(figsize=(7.5, 1.0 + 0.34 * len(shown)), layout="constrained")
    axis: Axes = figure.subplots()
    for place, each in enumerate(reversed(shown)):
        result = each.result
        assert result is not None
        axis.plot(result.differences, [place] * result.n, "|", color="#999999")
        if result.low is not None and result.high is not None:
            axis.plot([result.low, result.high], [place, place], "-", color="#0072B2")
        # Filled where the comparison is certified.
        axis.plot(result.mean, place, "o", color="#0072B2", markerfacecolor="#0072B2" if each.is_certified else "white")
    axis.axvline(0.0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(shown)))
    # Room above and below, so that no interval lies on the frame.
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.set_yticklabels([plain(f"{label_text(each.row)} ({label_text(each.col)})") for each in reversed(shown)])
    axis.set_xlabel(f"difference{f' in {unit}' if unit else ''}")
    axis.grid(alpha=0.3, axis="x")
    return figure
