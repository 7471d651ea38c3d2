"""Pictures of many runs as SVG."""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alasca_pl.core.metric_names import MetricName, accuracy, is_accuracy
from alasca_pl.report.compare import Comparison
from alasca_pl.report.grid import Grid, Label, label_text

# Colours that people with colour-blindness can tell apart (Okabe and Ito), with line styles for grey paper.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")


def svg_of(figure: Figure) -> str:
    """A figure as SVG to be put into a page, the same each time."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "alasca_pl"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :].strip()


def mean_curves(
    grid: Grid, row: Label, col: Label, metric: str
) -> tuple[list[int], list[float], list[float], list[int]]:
    """Mean and standard deviation of a metric, by the rule of prediction of the cell if it has one, over its runs, by epoch.

    Returns:
        Epochs from 1 that at least one run has, means, standard deviations (0 for a single run), numbers of runs.
    """
    by_epoch: dict[int, list[float]] = {}
    for entry in grid.cell(row, col).values():
        name = metric if entry.rule is None else accuracy(MetricName.parse(metric).group, entry.rule)
        for line in entry.run.history:
            if name in line:
                by_epoch.setdefault(int(line["epoch"]) + 1, []).append(line[name] * grid.question.scale)
    epochs = sorted(by_epoch)
    values = [np.asarray(by_epoch[epoch]) for epoch in epochs]
    stds = [float(each.std(ddof=1)) if len(each) > 1 else 0.0 for each in values]
    return epochs, [float(each.mean()) for each in values], stds, [len(each) for each in values]


def draw_curves(grid: Grid, metric: str) -> Figure:
    """Means over the seeds by epoch, with bands of one standard deviation; one panel per column in which a run has kept its
    epochs, of which there must be one.
    """
    columns = [col for col in grid.cols if any(mean_curves(grid, row, col, metric)[0] for row in grid.rows)]
    figure = Figure(figsize=(4.8 * len(columns), 3.8), layout="constrained")
    for axis, col in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns):
        for number, row in enumerate(grid.rows):
            epochs, means, stds, _ = mean_curves(grid, row, col, metric)
            if epochs:
                colour = _COLOURS[number % len(_COLOURS)]
                style = _STYLES[number % len(_STYLES)]
                axis.plot(epochs, means, style, color=colour, label=_plain(label_text(row)))
                low, high = np.subtract(means, stds), np.add(means, stds)
                axis.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.set_title(_plain(label_text(col)))
        axis.set_xlabel("epoch")
        axis.set_ylabel(f"{metric} (%)" if is_accuracy(metric) else metric)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
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
    axis.set_yticklabels([_plain(f"{label_text(each.row)} ({label_text(each.col)})") for each in reversed(shown)])
    axis.set_xlabel(f"difference{f' in {unit}' if unit else ''}")
    axis.grid(alpha=0.3, axis="x")
    return figure


def _plain(text: str) -> str:
    """Text without mathematics."""
    return text.replace("\\", "\\\\").replace("$", r"\$")
