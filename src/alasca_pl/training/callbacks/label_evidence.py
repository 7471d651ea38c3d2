"""Collects what training shows about each label."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from alasca_pl.core.evidence import Evidence
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.core.types import Batch
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.training.module import NoisyLabelModule


class LabelEvidence(L.Callback):
    """Sums up the predictions for each training sample and writes them to a file when training ends.

    Observed labels are all that it uses. Nothing in training depends on it.

    Args:
        labels: Labels of the training split.
        num_networks: M.
        names: Called at the end, returns the names of the images' files, (N,), or None.
        path: The file to write.
    """

    def __init__(
        self,
        labels: NoisyLabels,
        num_networks: int,
        names: Callable[[], npt.NDArray[np.str_] | None],
        path: Path,
    ) -> None:
        self._labels = labels
        self._names = names
        self._path = path
        # Fewer for many classes, whose predictions take room while they wait.
        together = max(1, min(16, 4096 // labels.num_classes))
        self._evidence = Evidence(len(labels.label), labels.num_classes, num_networks, together)

    def state_dict(self) -> dict[str, Any]:
        return self._evidence.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._evidence.load_state_dict(state_dict)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._evidence.update(outputs["logits"], batch.label, batch.index)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The next epoch visits the same samples.
        self._evidence.flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        if not trainer.is_global_zero:
            return
        means = self._evidence.means()
        visits = means.pop("visits")
        evidence = means | self._confidences(pl_module)
        SampleFile(self._labels.label, self._labels.index, visits, self._names(), evidence).save(self._path)

    def _confidences(self, module: NoisyLabelModule) -> dict[str, npt.NDArray[Any]]:
        label = torch.from_numpy(self._labels.label)
        method = module.method
        scores: dict[str, list[torch.Tensor]] = {}
        for number in range(len(method.networks)):
            for name, part in method.of_network(number):
                score = part.confidence(label)
                if score is not None:
                    scores.setdefault(name, []).append(score.reshape(-1))
        for name, run_part in method.of_run():
            score = run_part.confidence(label)
            if score is not None:
                scores[name] = list(score.reshape(-1, len(label)))
        return {f"{name}_confidence": torch.stack(rows).float().cpu().numpy() for name, rows in scores.items()}
