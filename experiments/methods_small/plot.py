"""Draw test accuracy over epochs, a panel per method. Usage: python plot.py OUTPUT_FOLDER NOISE PICTURE.png."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from alasca_pl.core.rows import read_rows


def accuracies(run: Path) -> list[float]:
    """Test accuracy of the main heads in %, epoch by epoch."""
    return [100 * row["test/acc_main"] for row in read_rows(run / "metrics.csv")]


def main(folder: Path, noise: str, picture: Path) -> None:
    """Draw all methods of one kind of noise."""
    methods = sorted(path.parent.name for path in (folder / noise).glob("*/none") if path.parent.name != "ce")
    reference = accuracies(folder / noise / "ce" / "none")
    columns = 5
    figure, axes = plt.subplots(
        -(-(1 + len(methods)) // columns), columns, figsize=(13, 7.5), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.flat[1 + len(methods) :]:
        axis.axis("off")
    for axis, method in zip(axes.flat, ["ce", *methods]):
        epochs = range(1, len(reference) + 1)
        axis.plot(epochs, reference, color="0.7", label="cross-entropy")
        axis.plot(epochs, accuracies(folder / noise / method / "none"), color="C0", label="method")
        axis.plot(epochs, accuracies(folder / noise / method / "short"), color="C3", label="method + ALASCA")
        axis.set_title(method, fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelbottom=True)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    figure.supxlabel("epoch")
    figure.supylabel("test accuracy, main head, %")
    figure.suptitle(f"{noise} noise")
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
