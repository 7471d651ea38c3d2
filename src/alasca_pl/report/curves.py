"""Figures of a run."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alasca_pl.core.files import write_atomically
from alasca_pl.core.metric_names import (
    ACC_CLEAN,
    ACC_OBSERVED,
    AUROC,
    CONFIDENCE,
    CONFIDENCE_CLEAN,
    CONFIDENCE_WRONG,
    MEMORISED,
    TEST,
    TRAIN,
    VAL,
    accuracy,
    of_quantity,
    splits_measured,
)
from alasca_pl.core.rows import Row

# Colours that people with colour-blindness can tell apart (Okabe and Ito).
_ACCURACIES = (
    (ACC_OBSERVED, "training, given labels", "#D55E00", "-"),
    (ACC_CLEAN, "training, clean labels", "#009E73", "-"),
    (MEMORISED, "noisy labels memorised", "#CC79A7", ":"),
    (accuracy(TEST, "main"), "test, main head", "#0072B2", "-"),
    (accuracy(TEST, "ensemble_all"), "test, ensemble of all heads", "#56B4E9", "--"),
)
_WITHOUT_TEST = (
    (accuracy(VAL, "main"), "validation (given labels), main head", "#0072B2", "-"),
    (accuracy(VAL, "ensemble_all"), "validation (given labels), ensemble", "#56B4E9", "--"),
)


def plot_curves(rows: Sequence[Row], title: str, path: Path) -> None:
    """Plot accuracies over the epochs and, confidences in clean and in noisy labels, or in all of them
    where nobody knows which are clean.

    Args:
        rows: One row of metrics per epoch.
        title: Title of the figure.
        path: PNG file to write.
    """
    everything = {name: value for row in rows for name, value in row.items()}
    # That of the networks themselves differs little from the accuracy on given labels.
    shown = [
        name
        for quantity in (CONFIDENCE_CLEAN, CONFIDENCE)
        for name, _ in of_quantity(everything, quantity)
        if name.group != TRAIN
    ]
    parts = sorted({name.group for name in shown})
    figure = Figure(figsize=(6.4 * (1 + len(parts)), 4.6), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, 1 + len(parts), squeeze=False)[0]
    figure.suptitle(title)
    has_test = TEST in splits_measured(everything)
    for name, label, colour, style in (*_ACCURACIES, *(() if has_test else _WITHOUT_TEST)):
        _line(axes[0], rows, name, label, colour, style)
    _dress(axes[0], "accuracy")
    for axis, part in zip(axes[1:], parts):
        of_part = sorted((name for name in shown if name.group == part), key=lambda name: name.network or 0)
        for number, name in enumerate(of_part):
            suffix = "" if name.network is None else f", network {name.network}"
            style = ("-", "--", ":")[number % 3]
            wrong, auroc = name._replace(quantity=CONFIDENCE_WRONG), name._replace(quantity=AUROC)
            known = name.quantity == CONFIDENCE_CLEAN
            text, colour = ("clean samples", "#009E73") if known else ("mean of all samples", "#0072B2")
            _line(axis, rows, str(name), f"{text}{suffix}", colour, style)
            _line(axis, rows, str(wrong), f"noisy samples{suffix}", "#D55E00", style)
            _line(axis, rows, str(auroc), f"AUROC{suffix}", "#999999", style)
        _dress(axis, f"confidence of {part} in the given label")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, lambda file: file.write(image.getvalue()))


def _line(axis: Axes, rows: Sequence[Row], name: str, label: str, colour: str, style: str) -> None:
    points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    if points:
        marker = "o" if len(points) == 1 else None
        axis.plot(*zip(*points), label=label, color=colour, linestyle=style, marker=marker)


def _dress(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("epoch")
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="best")
