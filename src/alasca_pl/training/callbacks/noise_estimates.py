"""Logs what several estimators say of the noise, next to the truth where it is known."""

import logging
import math

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.distributed import from_rank_zero
from alasca_pl.core.metric_names import MetricName, per_network
from alasca_pl.core.noise_estimate import NoiseEstimate, NoiseEstimator, matrix_error
from alasca_pl.training.callbacks.scans import scan_training_set
from alasca_pl.training.module import NoisyLabelModule

log = logging.getLogger(__name__)

_RATE, _ERROR = "noise_rate", "matrix_error"


class NoiseEstimates(L.Callback):
    """Scans the training set after some epochs and logs the noise rate by each estimator; training does not change.

    Logged for each network: ``noise_rate/<estimator>``; and where clean labels are known, for measuring only,
    ``noise_rate/true`` and for estimators of the transition matrix ``matrix_error/<estimator>``, the mean over the true classes
    of the total variation distance to the matrix that was counted.

    A part with ``estimate_epoch=e`` estimates from the networks after e epochs, which are in the row of epoch e - 1.

    Args:
        estimator: Gives the estimates.
        every: Number of epochs from one scan to the next, at least 1; the last epoch is always scanned.

    Raises:
        ValueError: If ``every`` is below 1.
    """

    def __init__(self, estimator: NoiseEstimator, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.estimator, self.every = estimator, every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        done = trainer.current_epoch + 1
        if done % self.every and done != trainer.max_epochs:
            return
        scan = scan_training_set(trainer, pl_module, self.estimator.request)
        tables = (scan.losses, scan.probs, scan.features)
        if not all(torch.isfinite(table).all() for table in tables if table is not None):
            if trainer.is_global_zero:
                log.warning("no estimates of the noise after epoch %d: predictions are not finite", done)
            return
        labels = trainer.datamodule.noisy_labels  # type: ignore[attr-defined]
        true = labels.transition_matrix
        names, count = self.estimator.names, len(pl_module.method.networks)

        def rows() -> Tensor:
            found = [self.estimator.estimates(scan.of_network(number)) for number in range(count)]
            values = [[(each[name].rate, _error(each[name], true)) for each in found] for name in names]
            return torch.tensor(values, dtype=torch.float32)

        # Fits depend on libraries and threads.
        like = torch.zeros(len(names), count, 2, device=pl_module.device)
        metrics = {} if true is None else {str(MetricName(_RATE, "true")): labels.realised_rate}
        for name, values in zip(names, from_rank_zero(rows, like).cpu()):
            metrics |= per_network(_RATE, name, values[:, 0].tolist())
            if not torch.isnan(values[:, 1]).any():
                metrics |= per_network(_ERROR, name, values[:, 1].tolist())
        for name, value in metrics.items():
            # Already equal on all ranks; the argument tells Lightning that they are reduced.
            pl_module.log(name, value, sync_dist=True)


def _error(estimate: NoiseEstimate, true: npt.NDArray[np.float64] | None) -> float:
    return math.nan if estimate.matrix is None or true is None else matrix_error(estimate.matrix, true)
