"""What a finished run shows in Weights & Biases besides its curves."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alasca_pl.audit.suspects import find_suspects
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.core.terminal import printable
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.thumbnails import thumbnail
from alasca_pl.training.wandb import WandbRunLogger

_SUMMARIES = ("last", "mean_of_last", "best_val")
# Where wandb puts the files of tables until they are sent.
_STAGING = "WANDB_DATA_DIR"
_COLUMNS: list[str | int] = ["image", "name", "given", "suggested", "probability wrong", "score", "reason"]


def show_results(logger: WandbRunLogger, folder: RunFolder, record: RunRecord, data: NoisyDataModule) -> None:
    """Send the results of a run that has ended: summaries, pictures, and the labels that are most likely wrong.

    Args:
        logger: The run's logger, which has not ended.
        folder: The run's folder, with its files.
        record: The run's record.
        data: Its data.
    """
    run = logger.experiment
    run.summary.update(_summary(record))
    with _staged_in(logger.folder):
        shown = _shown(logger, folder, data)
        if shown:
            run.log({**shown, "epoch": record.metrics["last"]["epoch"]})


@contextlib.contextmanager
def _staged_in(folder: Path | None) -> Iterator[None]:
    """Files that wait for ``wandb sync`` lie with the run instead of in the user's home, where only this machine has them."""
    if folder is None or _STAGING in os.environ:
        yield
        return
    os.environ[_STAGING] = str(folder)
    try:
        yield
    finally:
        del os.environ[_STAGING]


def _shown(logger: WandbRunLogger, folder: RunFolder, data: NoisyDataModule) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if folder.curves.is_file():
        shown["curves"] = _image(folder.curves)
    if data.noisy_labels.transition_matrix is not None:
        shown["transition_matrix"] = _matrix(data)
    if logger.suspects and folder.samples.is_file():
        shown["suspects"] = _suspects(SampleFile.load(folder.samples), data, logger.suspects)
    return shown


def _summary(record: RunRecord) -> dict[str, Any]:
    """Figures of the record under the names that it has for them."""
    summary: dict[str, Any] = {
        f"{which}/{name}": value for which in _SUMMARIES for name, value in record.metrics.get(which, {}).items()
    }
    summary["noise/realised_rate"] = record.noise.realised_rate
    summary["noise/sha256"] = record.noise.sha256
    summary["duration_seconds"] = record.duration_seconds
    summary["status"] = record.status
    return {name: value for name, value in summary.items() if value is not None}


def _image(path: Path) -> Any:
    import wandb

    # Not by its name: W&B copies files only when they are sent.
    with Image.open(path) as image:
        return wandb.Image(image.convert("RGB"))


def _matrix(data: NoisyDataModule) -> Any:
    # Imported late, because a run starts without pictures.
    from alasca_pl.report.matrix_plot import plot_matrix

    labels = data.noisy_labels
    assert labels.transition_matrix is not None
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "matrix.png"
        plot_matrix(labels.transition_matrix, data.facts.class_names, f"{data.name}: {labels.kind} noise", file)
        return _image(file)


def _suspects(samples: SampleFile, data: NoisyDataModule, count: int) -> Any:
    import wandb

    suspects = find_suspects({"train": samples}, data.facts.num_classes)
    suspects = suspects.take(np.arange(min(count, len(suspects))))
    split, names, classes = data.prepared.splits["train"], samples.names, data.facts.class_names
    table = wandb.Table(columns=_COLUMNS)
    for place, row in enumerate(suspects.row):
        name = str(samples.index[row]) if names is None else str(names[row])
        table.add_data(
            wandb.Image(thumbnail(split, int(row), data.prepared.channels)),
            printable(name),
            printable(classes[suspects.given[place]]),
            printable(classes[suspects.suggested[place]]),
            float(suspects.probability[place]),
            float(suspects.score[place]),
            printable(suspects.reason(place, classes)),
        )
    return table
