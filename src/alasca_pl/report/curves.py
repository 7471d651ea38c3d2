"""Figures of a run."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from alasca_pl.core.files import write_atomically
from alasca_pl.core.metric_names import (
    ACC_CLEAN,
    ACC_OBSERVED,
    AUROC,
    BASE_LOSS,
    CONFIDENCE,
    CONFIDENCE_CLEAN,
    CONFIDENCE_WRONG,
    LOSS,
    MEMORISED,
    SELECT,
    TEST,
    TRAIN,
    VAL,
    MetricName,
    accuracy,
    of_quantity,
    splits_measured,
)
from alasca_pl.core.rows import Row
from alasca_pl.report.style import epochs_below, panels, plain

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


_SELECTION = (
    ("precision", "precision: clean among the selected", "#009E73", "-"),
    ("recall", "recall: selected among the clean", "#0072B2", "--"),
    ("rate", "fraction of samples selected", "#999999", ":"),
)


def plot_curves(rows: Sequence[Row], title: str, path: Path) -> None:
    """Plot a run by epoch: accuracies; the loss and its parts; the quality of selections, if the run has a selector; confidences
    in clean and in noisy labels, or in all of them where nobody knows which are clean.

    Legends give the last value of each line. A ring marks the epoch that is best on the validation split.

    Args:
        rows: One row of metrics per epoch.
        title: Title of the figure.
        path: PNG file to write.
    """
    everything = {name: value for row in rows for name, value in row.items()}
    draw: list[Callable[[Axes], None]] = [partial(_accuracies, rows=rows)]
    if LOSS in everything:
        draw.append(partial(_losses, rows=rows))
    if MetricName(SELECT, "precision") in dict(of_quantity(everything, "precision")):
        draw.append(partial(_selection, rows=rows))
    # The confidence of the networks themselves differs little from the accuracy on given labels.
    shown = [
        name
        for quantity in (CONFIDENCE_CLEAN, CONFIDENCE)
        for name, _ in of_quantity(everything, quantity)
        if name.group != TRAIN
    ]
    for part in sorted({name.group for name in shown}):
        of_part = sorted((name for name in shown if name.group == part), key=lambda name: name.network or 0)
        draw.append(partial(_confidences, rows=rows, names=of_part))
    figure, axes = panels(len(draw), width=5.4, height=4.3, sharey=False)
    figure.suptitle(plain(title))
    for axis, fill in zip(axes, draw):
        fill(axis)
        epochs_below(axis)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small", loc="best")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, lambda file: file.write(image.getvalue()))


def _accuracies(axis: Axes, rows: Sequence[Row]) -> None:
    has_test = TEST in splits_measured({name: value for row in rows for name, value in row.items()})
    for name, label, colour, style in (*_ACCURACIES, *(() if has_test else _WITHOUT_TEST)):
        _line(axis, [(row["epoch"] + 1, row[name]) for row in rows if name in row], label, colour, style, "{:.1%}")
    with_val = [row for row in rows if accuracy(VAL) in row]
    chosen = accuracy(TEST if has_test else VAL, "main")
    if with_val:
        best = max(with_val, key=lambda row: row[accuracy(VAL)])
        if chosen in best:
            label = f"best on validation: epoch {best['epoch'] + 1:.0f} ({best[chosen]:.1%})"
            axis.plot(best["epoch"] + 1, best[chosen], "o", color="#0072B2", markerfacecolor="none", label=label)
    axis.set_title("accuracy")
    axis.set_ylim(0, 1.02)


def _losses(axis: Axes, rows: Sequence[Row]) -> None:
    """The loss that is minimised, and its parts if it has penalties, as the log gives them."""
    parts = []
    for row in rows:
        if LOSS in row:
            base = sum(value for name, value in of_quantity(row, BASE_LOSS) if name.group == TRAIN)
            parts.append((row["epoch"] + 1, row[LOSS], base, row[LOSS] - base))
    columns = [("loss", 1, "#000000", "-")]
    if any(base and abs(penalty) > 1e-3 * abs(total) for _, total, base, penalty in parts):
        columns += [("base loss", 2, "#0072B2", "--"), ("weighted penalties", 3, "#CC79A7", ":")]
    for label, column, colour, style in columns:
        _line(axis, [(point[0], point[column]) for point in parts], label, colour, style, "{:.3g}")
    values = [point[column] for point in parts for _, column, _, _ in columns]
    if min(values) > 0 and max(values) > 20 * min(values):
        axis.set_yscale("log")
    axis.set_title("training loss")


def _selection(axis: Axes, rows: Sequence[Row]) -> None:
    for quantity, label, colour, style in _SELECTION:
        name = str(MetricName(SELECT, quantity))
        _line(axis, [(row["epoch"] + 1, row[name]) for row in rows if name in row], label, colour, style, "{:.2f}")
    axis.set_title("selection of clean samples")
    axis.set_ylim(0, 1.02)


def _confidences(axis: Axes, rows: Sequence[Row], names: Sequence[MetricName]) -> None:
    for number, name in enumerate(names):
        suffix = "" if name.network is None else f", network {name.network}"
        style = ("-", "--", ":")[number % 3]
        known = name.quantity == CONFIDENCE_CLEAN
        text, colour = ("clean samples", "#009E73") if known else ("mean of all samples", "#0072B2")
        wrong, auroc = name._replace(quantity=CONFIDENCE_WRONG), name._replace(quantity=AUROC)
        for its, label, shade in (
            (name, text, colour),
            (wrong, "noisy samples", "#D55E00"),
            (auroc, "AUROC", "#999999"),
        ):
            points = [(row["epoch"] + 1, row[str(its)]) for row in rows if str(its) in row]
            _line(axis, points, f"{label}{suffix}", shade, style, "{:.2f}")
    axis.set_title(f"confidence of {names[0].group} in the given label")
    axis.set_ylim(0, 1.02)


def _line(axis: Axes, points: Sequence[tuple[float, float]], label: str, colour: str, style: str, form: str) -> None:
    if points:
        marker = "o" if len(points) == 1 else None
        axis.plot(
            *zip(*points), label=f"{label} ({form.format(points[-1][1])})", color=colour, linestyle=style, marker=marker
        )
