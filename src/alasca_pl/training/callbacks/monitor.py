"""What happens to clean and to wrong samples during training."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from alasca_pl.core.types import Batch
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.training.callbacks.epoch_means import EpochMeans
from alasca_pl.training.module import NoisyLabelModule


class NoiseMonitor(L.Callback):
    """Logs the terms of the loss, accuracy on observed and clean labels, memorisation, and confidences.

    This is where clean labels end: they are looked up by index and only measured with.

    Logged once per epoch: ``train/<term>``; ``train/acc_observed``; and where clean labels are known
    ``train/acc_clean``, ``train/memorised`` (share of wrong samples predicted as their wrong label) and, for every part
    that has an opinion on labels, ``<part>/confidence_clean``, ``<part>/confidence_wrong`` and ``<part>/auroc`` (with
    which 1 - confidence ranks wrong before clean samples).

    Args:
        labels: Labels of the training split.
    """

    def __init__(self, labels: NoisyLabels) -> None:
        self._label = torch.from_numpy(labels.label)
        self._clean = None if labels.clean_label is None else torch.from_numpy(labels.clean_label)
        self._means = EpochMeans()

    def state_dict(self) -> dict[str, Any]:
        return self._means.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._means.load_state_dict(state_dict)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        loss: Tensor = outputs["terms"]["loss"]
        # On an accelerator the look would stall its queue at every step, so there it is taken at the epoch's end.
        if loss.device.type == "cpu" and not torch.isfinite(loss):
            raise _not_finite(trainer, f"; samples {batch.index[:10].tolist()} and others were in the batch")
        predicted = outputs["logits"].argmax(dim=1)
        one = torch.ones((), device=loss.device)
        values = {f"train/{name}": (value, one) for name, value in outputs["terms"].items()}
        count = one * len(batch.label)
        values["train/acc_observed"] = ((predicted == batch.label).sum(), count)
        if self._clean is not None:
            self._clean = self._clean.to(loss.device)
            clean = self._clean[batch.index]
            wrong = clean != batch.label
            values["train/acc_clean"] = ((predicted == clean).sum(), count)
            values["train/memorised"] = (((predicted == batch.label) & wrong).sum(), wrong.sum())
        self._means.add(values)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        means = self._means.take()
        if not torch.isfinite(torch.tensor(means["train/loss"])):
            raise _not_finite(trainer, "")
        for name, value in (means | self._confidences(pl_module)).items():
            # Equal on all ranks already; Lightning wants to hear that they are reduced.
            pl_module.log(name, value, sync_dist=True)

    def _confidences(self, module: NoisyLabelModule) -> dict[str, float]:
        if self._clean is None:
            return {}
        wrong = self._clean.cpu() != self._label
        metrics: dict[str, float] = {}
        count = len(module.parts.networks)
        for number in range(count):
            for name, part in module.parts.of_network(number):
                confidence = part.confidence(self._label)
                if confidence is None or not wrong.any() or wrong.all():
                    continue
                confidence = confidence.cpu()
                suffix = "" if count == 1 else f"/{number}"
                metrics[f"{name}/confidence_clean{suffix}"] = float(confidence[~wrong].mean())
                metrics[f"{name}/confidence_wrong{suffix}"] = float(confidence[wrong].mean())
                metrics[f"{name}/auroc{suffix}"] = float(binary_auroc(1.0 - confidence, wrong.long()))
        return metrics


def _not_finite(trainer: L.Trainer, where: str) -> FloatingPointError:
    return FloatingPointError(
        f"the loss is not finite in epoch {trainer.current_epoch}, step {trainer.global_step}{where}; "
        "try a smaller optim.optimizer.lr, or clip gradients with trainer.gradient_clip_val"
    )
