"""One row of metrics per epoch, in a file and in the checkpoint."""

from pathlib import Path
from typing import Any

import lightning as L

from alasca_pl.core.rows import Row, write_rows


class History(L.Callback):
    """Keeps ``metrics.csv`` whole: after an interruption it has each epoch once, as if nothing had happened.

    Must come after the callbacks that log at the end of an epoch.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **dict(sorted(metrics.items()))})
        if trainer.is_global_zero:
            write_rows(self.path, self.rows)
