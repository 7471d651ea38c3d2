"""Pictures of a run."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alasca_pl.core.files import write_atomically
from alasca_pl.core.rows import Row

# Colours that people with colour-blindness can tell apart (Okabe and Ito).
_ACCURACIES = (
    ("train/acc_observed", "training, given labels", "#D55E00", "-"),
    ("train/acc_clean", "training, clean labels", "#009E73", "-"),
    ("train/memorised", "wrong labels learned by heart", "#CC79A7", ":"),
    ("test/acc_main", "test, main head", "#0072B2", "-"),
    ("test/acc_ensemble_all", "test, ensemble of all heads", "#56B4E9", "--"),
)
_WITHOUT_TEST = (
    ("val/acc_main", "validation (given labels), main head", "#0072B2", "-"),
    ("val/acc_ensemble_all", "validation (given labels), ensemble", "#56B4E9", "--"),
)


def plot_curves(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw accuracies over the epochs and, where it is known, confidence of clean against wrong samples.

    Args:
        rows: One row of metrics per epoch.
        title: Title of the picture.
        path: PNG file to write.
    """
    parts = sorted({name.split("/")[0] for row in rows for name in row if "/confidence_clean" in name})
    figure = Figure(figsize=(6.4 * (1 + len(parts)), 4.6), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, 1 + len(parts), squeeze=False)[0]
    figure.suptitle(title)
    has_test = any(name.startswith("test/") for row in rows for name in row)
    for name, label, colour, style in (*_ACCURACIES, *(() if has_test else _WITHOUT_TEST)):
        _line(axes[0], rows, name, label, colour, style)
    _dress(axes[0], "accuracy")
    for axis, part in zip(axes[1:], parts):
        names = sorted({name for row in rows for name in row if name.startswith(f"{part}/confidence_clean")})
        for number, clean in enumerate(names):
            suffix = "" if len(names) == 1 else f", network {number}"
            style = ("-", "--", ":")[number % 3]
            _line(axis, rows, clean, f"clean samples{suffix}", "#009E73", style)
            _line(axis, rows, clean.replace("_clean", "_wrong"), f"wrong samples{suffix}", "#D55E00", style)
            _line(axis, rows, clean.replace("confidence_clean", "auroc"), f"AUROC{suffix}", "#999999", style)
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
