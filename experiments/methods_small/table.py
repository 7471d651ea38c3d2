"""Print the table of this experiment from its records. Usage: python table.py OUTPUT_FOLDER."""

import json
import sys
from pathlib import Path

COLUMNS = (
    "method", "noise", "ALASCA", "last", "mean of last 20", "best on val", "ensemble, last", "memorised", "F1",
    "AUROC of score", "AUROC of loss", "s / epoch", "CPU s", "MB",
)  # fmt: skip


def percent(metrics: dict, name: str) -> str:
    """A figure in %, or nothing."""
    return f"{100 * metrics[name]:.1f}" if name in metrics else ""


def mean_of(metrics: dict, name: str) -> str:
    """A figure of all networks: its own name, or the mean of those with a number."""
    values = [value for key, value in metrics.items() if key == name or key.startswith(f"{name}/")]
    return f"{sum(values) / len(values):.3f}" if values else ""


def cpu_seconds(path: Path) -> str:
    """CPU seconds of a whole run, user and system, from the output of ``time``; empty if it is missing."""
    return f"{sum(map(float, path.read_text().split()[-2:])):.0f}" if path.is_file() else ""


def main(folder: Path) -> None:
    """Print one line per finished run."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for path in sorted(
        folder.glob("*/*/*/record.json"), key=lambda p: (p.parts[-3], p.parts[-4], p.parts[-2] != "none")
    ):
        noise, method, with_ = path.parts[-4:-1]
        record = json.loads(path.read_text())
        if record["status"] != "finished":
            print(f"{path}: {record['status']}", file=sys.stderr)
            continue
        last, mean = record["metrics"]["last"], record["metrics"]["mean_of_last"]
        best = record["metrics"]["best_val"]
        cells = [
            method,
            noise,
            "no" if with_ == "none" else "yes",
            percent(last, "test/acc_main"),
            percent(mean, "test/acc_main"),
            percent(best, "test/acc_main"),
            percent(last, "test/acc_ensemble_all") if with_ != "none" else "",
            percent(last, "train/memorised"),
            mean_of(last, "select/f1"),
            mean_of(last, "select/auroc"),
            mean_of(last, "train/auroc_loss"),
            f"{record['duration_seconds'] / (last['epoch'] + 1):.1f}",
            cpu_seconds(folder / f"{noise}_{method}_{with_}.cpu"),
            str(record["peak_memory_mb"]["process"]),
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
