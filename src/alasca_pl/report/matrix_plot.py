"""A plot of how classes are confused."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from alasca_pl.core.files import write_atomically

# Largest numbers of classes for which cells show their values, and for which the axes name every class.
_MOST_WITH_VALUES = 20
_MOST_WITH_NAMES = 120
# Where cells do not show their values, so many confusions are listed: those that stand out.
_MOST_LISTED = 30
_STANDS_OUT = 3.0


def plot_matrix(matrix: npt.NDArray[np.float64], names: Sequence[str], title: str, path: Path) -> None:
    """Draw a class transition matrix as a heat map; with many classes the most frequent confusions are listed beside it.

    Args:
        matrix: P(observed j given clean i), (K, K); rows of zeros are classes without samples and are grey.
        names: One per class.
        title: Title of the figure.
        path: PNG file to write.
    """
    size = len(matrix)
    listed = frequent_confusions(matrix) if size > _MOST_WITH_VALUES else []
    side = 3.0 + min(max(0.55 * size, 3.0), 9.0)
    figure = Figure(figsize=(side + (4.6 if listed else 1.2), side), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_array(matrix, mask=np.repeat(matrix.sum(axis=1, keepdims=True) == 0, size, axis=1))
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#DDDDDD")
    # The square root makes small probabilities visible, such as those of noise that is spread over many classes.
    image = axes.imshow(shown, cmap=colours, norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, label="P(observed | clean)", shrink=0.85, fraction=0.04, pad=0.02)
    bar.set_ticks([0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    bar.ax.minorticks_off()
    axes.set_title(title)
    axes.set_xlabel("observed class")
    axes.set_ylabel("clean class")
    _name_classes(axes, names, side)
    if size <= _MOST_WITH_VALUES:
        _write_values(axes, matrix)
    if listed:
        lines = [
            f"{value:.2f}  {_short(names[row])} \N{RIGHTWARDS ARROW} {_short(names[col])}" for row, col, value in listed
        ]
        text = "\n".join(["most frequent confusions", "(clean \N{RIGHTWARDS ARROW} observed)", "", *lines])
        bar.ax.text(4.0, 1.0, text, transform=bar.ax.transAxes, va="top", fontsize=9, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150 if size > _MOST_WITH_VALUES else 120)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def frequent_confusions(matrix: npt.NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """The largest probabilities of another class than the clean one, if they stand out.

    Args:
        matrix: P(observed j given clean i), (K, K).

    Returns:
        Clean class, observed class and probability, the largest first; at most 30. Only those that are at least three times as
        large as if the wrong labels of their class were spread evenly over the other classes.

    Example:
        >>> frequent_confusions(np.array([[0.7, 0.28, 0.01, 0.01, 0.0], *np.full((4, 5), 0.2)]))
        [(0, 1, 0.28)]
    """
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0.0, matrix)
    evenly = wrong.sum(axis=1, keepdims=True) / max(1, len(matrix) - 1)
    shown = np.where((wrong > 0) & (wrong >= _STANDS_OUT * evenly), wrong, 0.0)
    order = np.argsort(-shown, axis=None, kind="stable")[:_MOST_LISTED]
    places = zip(*np.unravel_index(order, shown.shape))
    return [(int(row), int(col), float(shown[row, col])) for row, col in places if shown[row, col] > 0]


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def _name_classes(axes: Axes, names: Sequence[str], side: float) -> None:
    size = len(names)
    if size > _MOST_WITH_VALUES:
        # Lines that lead from a cell to its classes.
        step = 5 if size <= _MOST_WITH_NAMES else max(1, size // 20)
        axes.set_xticks(np.arange(-0.5, size, step), minor=True)
        axes.set_yticks(np.arange(-0.5, size, step), minor=True)
        axes.grid(which="minor", color="#000000", alpha=0.12, linewidth=0.5)
        axes.tick_params(which="minor", length=0)
    if size > _MOST_WITH_NAMES:
        step = next(step for step in (5, 10, 20, 50, 100, 200, 500, size) if size / step <= 20)
        ticks = list(range(0, size, step))
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.set_xlabel("observed class (id)")
        axes.set_ylabel("clean class (id)")
        return
    shortened = [_short(name) for name in names]
    upright = max(map(len, shortened)) <= 2 and size <= _MOST_WITH_VALUES
    # With many classes the names stand close beside each other, without room for a slope.
    many = size > _MOST_WITH_VALUES
    turned: dict[str, Any] = {"rotation": 90, "ha": "center"} if many else {"rotation": 45, "ha": "right"}
    # Points: lower than a row of the matrix, which takes about four fifths of the figure.
    font = min(10.0, 72 * side * 0.8 / size * 0.75)
    axes.set_xticks(range(size), shortened, fontsize=font, **({} if upright else turned))
    axes.set_yticks(range(size), shortened, fontsize=font)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        # Names are plain text, even if they contain dollar signs.
        label.set_parse_math(False)


def _write_values(axes: Axes, matrix: npt.NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if value > 0:
            text = f"{value:.2f}" if value >= 0.005 else "<.01"
            colour = "white" if value > 0.35 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
