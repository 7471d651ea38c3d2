"""One row of metrics per epoch, in a file and in the checkpoint."""

import time
from pathlib import Path
from typing import Any

import lightning as L

from alasca_pl.core.metric_names import LOSS_OF_STEP
from alasca_pl.core.rows import Row, add_row, write_rows


class History(L.Callback):
    """Keeps ``metrics.csv`` complete: it has each epoch exactly once, also after an interruption.

    Must come after the callbacks that log at the end of an epoch.

    Args:
        path: The file.

    Attributes:
        has_begun: Whether training has begun in this process; a checkpoint has been taken up by then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._seconds_before = 0.0
        self._start: float | None = None
        self.has_begun = False
        self._is_written = False

    @property
    def seconds(self) -> float:
        """Time spent training so far, without work that interruptions lost."""
        return self._seconds_before + (0.0 if self._start is None else time.monotonic() - self._start)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        self._seconds_before = state_dict["seconds"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.has_begun = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        # Lightning adds the value of the latest step under another name.
        metrics.pop(LOSS_OF_STEP, None)
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **dict(sorted(metrics.items()))})
        if not trainer.is_global_zero:
            return
        if self._is_written:
            add_row(self.path, self.rows)
        else:
            # What the file holds may be of epochs that an interruption lost.
            write_rows(self.path, self.rows)
            self._is_written = True
