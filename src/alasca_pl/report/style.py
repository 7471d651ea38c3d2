"""How pictures look: colours, lines and legends of all figures, and their forms as files."""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours that people with colour-blindness can tell apart (Okabe and Ito). Lines and markers tell the rest apart on grey paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
CLEAN: dict[str, Any] = {"color": "#009E73", "linestyle": "-", "marker": "o", "markersize": 4}
NOISY: dict[str, Any] = {"color": "#D55E00", "linestyle": "--", "marker": "s", "markersize": 4}
_ACROSS = 4
_SETTINGS: Any = {
    "svg.hashsalt": "alasca_pl",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}


def line_style(number: int) -> dict[str, Any]:
    """Colour, line and marker of a figure's line; 36 of them differ without their colours."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def sparse_markers(count: int, number: int) -> tuple[int, int]:
    """Where a line of many points has its markers: about eight, not where those of its neighbours are."""
    step = max(1, count // 8)
    return number % step, step


def panels(count: int, width: float = 4.2, height: float = 3.1, sharey: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with some panels, four beside each other at most."""
    across = min(count, _ACROSS)
    down = math.ceil(count / across)
    figure = Figure(figsize=(max(5.2, width * across), height * down), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False, sharey=sharey).flat)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def y_label(axis: Axes, text: str) -> None:
    """Name of the vertical axis, of the first panel of each line only."""
    place = axis.get_subplotspec()
    if place is None or place.is_first_col():
        axis.set_ylabel(text)


def epochs_below(axis: Axes) -> None:
    """Name and whole numbers on the horizontal axis of epochs."""
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def legend_below(figure: Figure, axes: Sequence[Axes], more: Sequence[Any] = ()) -> None:
    """One legend for all panels, and for more handles, below them; the figure grows by what it needs."""
    handles: dict[str, Any] = {handle.get_label(): handle for handle in more}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if not handles:
        return
    width, height = figure.get_size_inches()
    # Letters of the small font and the sample of the line beside them, in inches.
    longest = 0.075 * max(map(len, handles)) + 0.65
    across = max(1, min(len(handles), int(width / longest)))
    figure.set_size_inches(width, height + 0.19 * math.ceil(len(handles) / across) + 0.1)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=across, fontsize="small", frameon=False
    )


def plain(text: str) -> str:
    """Text without mathematics."""
    return text.replace("\\", "\\\\").replace("$", r"\$")


def svg_of(figure: Figure) -> str:
    """A figure as SVG to be put into a page, the same each time."""
    text = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :].strip()


def file_of(figure: Figure, form: str) -> bytes:
    """A figure as ``png`` or ``pdf``, the same each time."""
    content = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        dates = {"CreationDate": None} if form == "pdf" else {"Software": None}
        figure.savefig(content, format=form, metadata=dates)
    return content.getvalue()
