"""Results of a run, computed from its rows of metrics."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from alasca_pl.core.metric_names import (
    AUROC,
    BALANCED,
    MAJORITY,
    MEMORISED,
    SELECT,
    TEST,
    TRAIN,
    VAL,
    MetricName,
    accuracy,
    is_accuracy,
    of_quantity,
    splits_measured,
)
from alasca_pl.core.record import NoiseRecord, RunRecord
from alasca_pl.core.rows import Row
from alasca_pl.core.run_folder import RunFolder

HEADS = {"main": "main head", "ensemble_all": "ensemble of all heads", "main_last": "main + last auxiliary"}


def summarise(rows: Sequence[Row], last_epochs: int = 20) -> dict[str, dict[str, float]]:
    """Reduce the epochs of a run to the figures that are reported.

    Args:
        rows: One row of metrics per epoch, at least one. Epochs without validation have no accuracies on its splits.
        last_epochs: Number of last epochs that the mean covers, or all if there are fewer.

    Returns:
        ``last``: all metrics of the last epoch in which accuracies were measured. ``mean_of_last``: mean test accuracies and
        the number of epochs in which they were measured, at least that of ``last``. ``best_val``: test accuracies and
        epoch where accuracy on the validation split was best (the first such epoch); left out without validation.
        ``best_test``: the largest test accuracies, each selected on the test set and therefore too high. Without a test
        split the accuracies are those on the validation split, and ``best_test`` is left out.
    """
    tail = tail_of(rows, last_epochs)
    last = tail[-1]
    tests = measured(last)
    has_test = splits_measured(tests) not in ([], [VAL])
    result: dict[str, dict[str, float]] = {
        "last": dict(last),
        "mean_of_last": {"epochs": len(tail)}
        | {name: _mean([row[name] for row in tail if name in row]) for name in tests},
    }
    if has_test:
        result["best_test"] = {name: max(row[name] for row in rows if name in row) for name in tests}
    selected_by = accuracy(VAL)
    with_val = [row for row in rows if selected_by in row]
    if with_val:
        best = max(with_val, key=lambda row: row[selected_by])
        wanted = dict.fromkeys(("epoch", selected_by, *tests))
        result["best_val"] = {name: best[name] for name in wanted if name in best}
    return result


def tail_of(rows: Sequence[Row], last_epochs: int) -> list[Row]:
    """Those of the last epochs in which accuracies were measured, at least one; all of them if none ever was."""
    recent = rows[-last_epochs:]
    earlier = [row for row in rows if measured(row)][-1:]
    return [row for row in recent if measured(row)] or earlier or list(recent)


def measured(row: Row) -> list[str]:
    """Names of accuracies on test splits; without a test split, of those on the validation split."""
    tests = [name for name in row if is_accuracy(name) and not is_accuracy(name, [VAL])]
    return tests or [name for name in row if is_accuracy(name)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def render(record: RunRecord, compare_with: str | None) -> Group:
    """Make the table that is printed at the end of a run.

    Args:
        record: Of a finished run.
        compare_with: Command of the run to compare with, or None.
    """
    metrics = record.metrics
    last = metrics["last"]
    # The test split comes first, then further ones.
    splits = sorted(splits_measured(measured(last)), key=lambda split: split != TEST)
    title = "Validation accuracy (given labels)" if splits == [VAL] else f"Test accuracy{_labels(record, splits)}"
    table = Table(title=title, title_justify="left")
    table.add_column("prediction")
    is_last = last["epoch"] + 1 == record.config.get("trainer", {}).get("max_epochs")
    columns = {
        "last": "last epoch" if is_last else f"last measured epoch ({last['epoch'] + 1})",
        "mean_of_last": f"mean of last {metrics['mean_of_last']['epochs']}{'' if is_last else ' measured'}",
    }
    if "best_val" in metrics:
        columns["best_val"] = f"best on validation (epoch {metrics['best_val']['epoch'] + 1})"
    for column in columns.values():
        table.add_column(column, justify="right")
    for split in splits:
        for rule, head in HEADS.items():
            name = accuracy(split, rule)
            if name in last:
                label = head if split in (TEST, VAL) else f"{head}, {split}"
                table.add_row(label, *(f"{metrics[column][name]:.2%}" for column in columns))
    lines = [] if splits else [f"accuracy was not measured: {_why_not(record)}"]
    for split in splits:
        balanced, majority = (last.get(str(MetricName(split, name))) for name in (BALANCED, MAJORITY))
        if balanced is not None and majority is not None:
            where = "" if split in (TEST, VAL) else f" on {split}"
            lines.append(
                f"classes of different sizes{where}: balanced accuracy {balanced:.2%} (mean over the classes); always "
                f"predicting the largest class would give an accuracy of {majority:.2%}"
            )
    if record.cut is not None:
        lines.append(f"training was ended by {record.cut}")
    lines.append(_noise_line(record.noise, record.estimated_noise))
    for its, value in of_quantity(last, AUROC):
        if its.group != SELECT:
            network = "" if its.network is None else f", network {its.network}"
            lines.append(f"AUROC of 1 - confidence for detecting noisy labels ({its.group}{network}): {value:.3f}")
    selection = {each: last.get(str(MetricName(SELECT, each))) for each in ("rate", "precision", "recall", "f1")}
    if selection["f1"] is not None:
        values = ", ".join(f"{each} {selection[each]:.3f}" for each in ("precision", "recall", "f1"))
        lines.append(f"selected in the last epoch: {selection['rate']:.1%} of the samples; clean ones: {values}")
    if MEMORISED in last:
        lines.append(f"noisy labels memorised: {last[MEMORISED]:.1%}")
    curves = RunFolder(record.folder).curves.name
    lines.append(
        f"trained in {record.duration_seconds:.0f} s; saved in {record.folder} ({curves} shows the training curves)"
    )
    if compare_with:
        lines.append(f"the same without ALASCA: {compare_with}")
    texts = [Text(line) for line in lines]
    return Group(table, *texts) if splits else Group(*texts)


def _labels(record: RunRecord, splits: Sequence[str]) -> str:
    if record.data.clean_splits is None:
        return ""
    return f" ({'clean' if set(splits) <= set(record.data.clean_splits) else 'given'} labels)"


def _why_not(record: RunRecord) -> str:
    if not record.data.sizes.keys() - {TRAIN}:
        return "there is no validation and no test split"
    return "no epoch with validation was completed"


def _noise_line(noise: NoiseRecord, estimated: Sequence[float] | None) -> str:
    if noise.realised_rate is None:
        text = "noise: none added; which labels are wrong is not known"
        if estimated is None:
            return text
        return f"{text}; {{:.1%}} of them are estimated to be wrong ({{:.1%}} to {{:.1%}})".format(*estimated)
    if noise.kind == "none":
        return f"noise: none added; {noise.realised_rate:.1%} of the training labels differ from the clean ones"
    nominal = "" if noise.rate is None else f" {noise.rate:g}"
    return f"noise: {noise.kind}{nominal}, {noise.realised_rate:.1%} of the training labels are wrong"
