"""What a run came to, from its rows of metrics."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from alasca_pl.core.rows import Row

HEADS = {"main": "main head", "ensemble_all": "ensemble of all heads", "main_last": "main + last auxiliary"}


def summarise(rows: Sequence[Row], last_epochs: int = 20) -> dict[str, dict[str, float]]:
    """Reduce the epochs of a run to the figures that are reported.

    Args:
        rows: One row of metrics per epoch, at least one.
        last_epochs: The mean covers so many of the last epochs, or all if there are fewer.

    Returns:
        ``last``: all metrics of the last epoch. ``mean_of_last``: mean test accuracies. ``best_val``: test accuracies and
        epoch where accuracy on the validation part was best (the first such epoch); left out without validation.
        ``best_test``: the largest test accuracies, each selected on the test set, which flatters them. Without a test
        part the accuracies are those on the validation part, and ``best_test`` is left out.
    """
    tests = measured(rows[-1])
    has_test = any(not name.startswith("val/") for name in tests)
    tail = rows[-last_epochs:]
    result: dict[str, dict[str, float]] = {
        "last": dict(rows[-1]),
        "mean_of_last": {"epochs": len(tail)}
        | {name: _mean([row[name] for row in tail if name in row]) for name in tests},
    }
    if has_test:
        result["best_test"] = {name: max(row[name] for row in rows if name in row) for name in tests}
    with_val = [row for row in rows if "val/acc" in row]
    if with_val:
        best = max(with_val, key=lambda row: row["val/acc"])
        wanted = dict.fromkeys(("epoch", "val/acc", *tests))
        result["best_val"] = {name: best[name] for name in wanted if name in best}
    return result


def measured(row: Row) -> list[str]:
    """Names of accuracies on test parts; without a test part, of those on the validation part."""
    accuracies = [
        name for name in row if name.split("/")[-1].startswith("acc") and name.split("/")[0] not in ("train", "val")
    ]
    return accuracies or [name for name in row if name.startswith("val/acc")]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def render(record: dict[str, Any], compare_with: str | None) -> Group:
    """Draw the table that ends a run.

    Args:
        record: Contents of ``record.json`` of a finished run.
        compare_with: Command of the run to compare with, or None.
    """
    metrics = record["metrics"]
    parts = list(dict.fromkeys(name.split("/")[0] for name in measured(metrics["last"])))
    # The test part first, further ones after it.
    parts.sort(key=lambda part: part != "test")
    only_val = parts == ["val"]
    title = "Validation accuracy (given labels)" if only_val else "Test accuracy (clean labels)"
    table = Table(title=title, title_justify="left")
    table.add_column("prediction")
    columns = {"last": "last epoch", "mean_of_last": f"mean of last {metrics['mean_of_last']['epochs']}"}
    if "best_val" in metrics:
        columns["best_val"] = f"best on validation (epoch {metrics['best_val']['epoch'] + 1})"
    for column in columns.values():
        table.add_column(column, justify="right")
    for part in parts:
        for rule, head in HEADS.items():
            name = f"{part}/acc_{rule}"
            if name in metrics["last"]:
                label = head if part in ("test", "val") else f"{head}, {part}"
                table.add_row(label, *(f"{metrics[column][name]:.2%}" for column in columns))
    lines = [] if parts else ["accuracy was not measured: there is no validation and no test part"]
    lines.append(_noise_line(record["noise"]))
    last = metrics["last"]
    for name, value in last.items():
        part, *rest = name.split("/")
        if rest[:1] == ["auroc"] and part != "select":
            network = f", network {rest[1]}" if len(rest) > 1 else ""
            lines.append(f"AUROC with which 1 - confidence of {part} finds wrong labels{network}: {value:.3f}")
    if "select/f1" in last:
        values = ", ".join(f"{name} {last[f'select/{name}']:.3f}" for name in ("precision", "recall", "f1"))
        lines.append(f"selected in the last epoch: {last['select/rate']:.1%} of the samples; clean ones: {values}")
    if "train/memorised" in last:
        lines.append(f"wrong labels learned by heart: {last['train/memorised']:.1%}")
    lines.append(
        f"trained in {record['duration_seconds']:.0f} s; saved in {record['folder']} (curves.png shows the course)"
    )
    if compare_with:
        lines.append(f"the same without ALASCA: {compare_with}")
    texts = [Text(line) for line in lines]
    return Group(table, *texts) if parts else Group(*texts)


def _noise_line(noise: dict[str, Any]) -> str:
    if noise["realised_rate"] is None:
        return "noise: none added; which labels are wrong is not known"
    if noise["kind"] == "none":
        return f"noise: none added; {noise['realised_rate']:.1%} of the training labels differ from the clean ones"
    nominal = "" if noise["rate"] is None else f" {noise['rate']:g}"
    return f"noise: {noise['kind']}{nominal}, {noise['realised_rate']:.1%} of the training labels are wrong"
