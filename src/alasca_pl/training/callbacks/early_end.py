"""End training when accuracy on the validation split does not rise any more."""

import logging
from typing import Any

import lightning as L

from alasca_pl.core.metric_names import VAL, accuracy

log = logging.getLogger("alasca_pl")


class EarlyEnd(L.Callback):
    """Ends training after a number of epochs without a better accuracy on the validation split, by its given labels.

    Without a validation split training goes on to the last epoch. Must stand before the callbacks that save.

    Args:
        patience: Number of epochs in which it was measured, at least 1; None counts only, so that a resumed run may have one.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, patience: int | None) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"early_end.patience must be at least 1, got {patience}; null never ends early")
        self.patience = patience
        self._best = float("-inf")
        self._waited = 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The same on all processes.
        value = trainer.callback_metrics.get(accuracy(VAL))
        if value is None:
            return
        self._waited = 0 if float(value) > self._best else self._waited + 1
        self._best = max(self._best, float(value))
        if self.patience is None or self._waited < self.patience:
            return
        trainer.should_stop = True
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        if trainer.is_global_zero and done < total:
            log.info(
                "no better validation accuracy for %d epochs: ends after epoch %d of %d", self._waited, done, total
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._waited = state_dict["best"], state_dict["waited"]
