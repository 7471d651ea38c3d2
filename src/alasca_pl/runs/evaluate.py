"""Evaluate a checkpoint on a split of its data."""

from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torchmetrics.classification import MulticlassAccuracy

from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_new, write_json
from alasca_pl.core.progress import tracked
from alasca_pl.core.run_folder import find_checkpoint
from alasca_pl.report.summary import HEADS
from alasca_pl.runs.early import no_split
from alasca_pl.runs.load import open_checkpoint
from alasca_pl.runs.stored import data_of, device_of
from alasca_pl.training.accuracy import SplitAccuracy
from alasca_pl.training.predict import predict


def evaluate_checkpoint(
    checkpoint: Path,
    split: str = "test",
    source: dict[str, Any] | None = None,
    device: str = "auto",
    trust: bool = False,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measure accuracy of every prediction rule.

    Args:
        checkpoint: File from a run's folder ``checkpoints``, or the run's folder for its last one.
        split: ``train``, ``val`` (both against observed labels), ``test``, or a further test split of the data.
        source: Current location of the data, e.g. ``{"root": ...}``, if it has moved since the run.
        device: ``cpu``, ``cuda`` or ``auto``.
        trust: See ``load_run``.
        output: JSON file to write, which must not exist.

    Returns:
        ``checkpoint``, ``epoch``, ``split``, ``samples``, ``labels`` (``clean`` or ``given``), ``accuracy`` by rule,
        ``accuracy_per_class`` of the run's own rule (a list by class, None for classes without samples) and ``class_names``.

    Raises:
        UserError: If an argument is wrong, or checkpoint and data do not fit each other.
    """
    if output is not None:
        check_new(output)
    checkpoint = find_checkpoint(checkpoint)
    target = device_of(device)
    run = open_checkpoint(checkpoint, trust)
    data = data_of(run, source)
    if split not in data.sizes:
        raise UserError(no_split(split, data.name, data.sizes))
    batches = data.eval_batches(split)
    module = run.module.to(target)
    num_classes = run.facts.num_classes
    accuracies = SplitAccuracy(module.rules, module.predict_average, num_classes, num_networks=1).to(target)
    per_class = MulticlassAccuracy(num_classes, average="none").to(target)
    count = torch.zeros(num_classes, dtype=torch.int64)
    with torch.no_grad():
        for batch in tracked(batches, f"evaluating on {split}"):
            outputs = [network(batch.image.to(target)) for network in module.method.networks]
            label = batch.label.to(target)
            accuracies.update(outputs, label)
            per_class.update(predict(outputs, module.measured_rule, module.predict_average), label)
            count += torch.bincount(batch.label.cpu(), minlength=num_classes)
    result = {
        "checkpoint": str(checkpoint),
        "epoch": run.epoch,
        "split": split,
        "samples": data.sizes[split],
        "labels": "clean" if split in data.prepared.clean_splits else "given",
        "accuracy": {rule: float(value) for rule, value in accuracies.take().items()},
        "accuracy_per_class": [
            float(accuracy) if present else None for accuracy, present in zip(per_class.compute(), count)
        ],
        "class_names": list(run.facts.class_names),
    }
    if output is not None:
        write_json(output, result)
    return result


def render_evaluation(result: dict[str, Any]) -> Table:
    """Make a table of what ``evaluate_checkpoint`` returned."""
    # Text, because a path may contain what Rich reads as markup.
    title = Text(
        f"{result['checkpoint']} (epoch {result['epoch'] + 1}): accuracy on {result['split']}, "
        f"{result['samples']} samples, {result['labels']} labels"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("prediction")
    table.add_column("accuracy", justify="right")
    for rule, value in result["accuracy"].items():
        table.add_row(HEADS[rule], f"{value:.2%}")
    return table
