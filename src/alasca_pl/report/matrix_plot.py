"""A plot of how classes are confused."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from alasca_pl.core.files import write_atomically

# Largest numbers of classes for which cells show their values, and for which the axes name every class.
_MOST_WITH_VALUES = 20
_MOST_WITH_NAMES = 40


def plot_matrix(matrix: npt.NDArray[np.float64], names: Sequence[str], title: str, path: Path) -> None:
    """Draw a class transition matrix as a heat map.

    Args:
        matrix: P(observed j given clean i), (K, K); rows of zeros are classes without samples and are grey.
        names: One per class.
        title: Title of the figure.
        path: PNG file to write.
    """
    size = len(matrix)
    side = 3.0 + min(max(0.55 * size, 3.0), 9.0)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_array(matrix, mask=np.repeat(matrix.sum(axis=1, keepdims=True) == 0, size, axis=1))
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#DDDDDD")
    # The square root makes small probabilities visible, such as those of noise that is spread over many classes.
    image = axes.imshow(shown, cmap=colours, norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, label="P(observed | clean)", shrink=0.85)
    bar.set_ticks([0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    bar.ax.minorticks_off()
    axes.set_title(title)
    axes.set_xlabel("observed class")
    axes.set_ylabel("clean class")
    _name_classes(axes, names)
    if size <= _MOST_WITH_VALUES:
        _write_values(axes, matrix)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    size = len(names)
    if size > _MOST_WITH_NAMES:
        step = next(step for step in (5, 10, 20, 50, 100, 200, 500, size) if size / step <= 20)
        ticks = list(range(0, size, step))
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.set_xlabel("observed class (id)")
        axes.set_ylabel("clean class (id)")
        return
    shortened = [name if len(name) <= 20 else f"{name[:19]}…" for name in names]
    upright = max(map(len, shortened)) <= 2
    axes.set_xticks(range(size), shortened, rotation=0 if upright else 45, ha="center" if upright else "right")
    axes.set_yticks(range(size), shortened)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        # Names are plain text, even if they contain dollar signs.
        label.set_parse_math(False)


def _write_values(axes: Axes, matrix: npt.NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if value > 0:
            text = f"{value:.2f}" if value >= 0.005 else "<.01"
            colour = "white" if value > 0.35 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
