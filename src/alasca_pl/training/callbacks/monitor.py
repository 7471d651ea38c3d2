"""What happens to clean and to noisy samples during training."""

import logging
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from alasca_pl.core.metric_names import (
    ACC_CLEAN,
    ACC_OBSERVED,
    AUROC,
    AUROC_OF_LOSS,
    BASE_LOSS,
    CONFIDENCE,
    CONFIDENCE_CLEAN,
    CONFIDENCE_CLEAN_STD,
    CONFIDENCE_WRONG,
    CONFIDENCE_WRONG_STD,
    LOSS,
    MEMORISED,
    SELECT,
    TRAIN,
    MetricName,
    of_quantity,
    per_network,
)
from alasca_pl.core.quality import auroc
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import Batch
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.training.callbacks.epoch_means import EpochMeans
from alasca_pl.training.callbacks.selection_counts import SelectionCounts
from alasca_pl.training.module import NoisyLabelModule, diverged

log = logging.getLogger("alasca_pl")
# Samples with another weight than 1; looked at, not logged.
_WEIGHED = str(MetricName(TRAIN, "weighed"))


class NoiseMonitor(L.Callback):
    """Logs the terms of the loss, accuracy on observed and clean labels, memorisation, selections and confidences.

    Clean labels are used only here: they are looked up by index and used for measuring only.

    Logged once per epoch: ``train/<term>``; ``train/acc_observed``; and where clean labels are known

    * ``train/acc_clean`` and ``train/memorised`` (fraction of noisy samples that are predicted as their wrong label);
    * ``train/auroc_loss``, the AUROC of the loss for detecting noisy labels, with each sample's loss at its step;
    * for every part of a network that has a confidence in labels, ``<part>/confidence_clean``,
      ``<part>/confidence_wrong`` and ``<part>/auroc`` (AUROC of 1 - confidence for detecting noisy labels), and
      ``select/auroc`` likewise if the selector has one;
    * ``train/confidence_clean`` and ``train/confidence_wrong``, the instantaneous confidence: the networks' own probability of
      each given label at its step. All confidences are means over the samples, with standard deviations as
      ``confidence_clean_std`` and ``confidence_wrong_std``;
    * with a selector ``select/rate`` and the quality of the selections of the epoch's batches, see
      ``selection_quality``: per network, and without a number their mean.

    Where they are not, the same confidences as means over all samples: ``<part>/confidence`` and ``train/confidence``.

    The log is told once of an epoch in which the base loss was exactly 0, as where a selector keeps nothing.

    Args:
        labels: Labels of the training split.

    Attributes:
        selector_acted: Whether a selector has given a sample another weight than 1; None if not all steps were watched, as
            before a resume of an earlier version's run or where training was in another process.
    """

    def __init__(self, labels: NoisyLabels) -> None:
        self.selector_acted: bool | None = None
        self._label = torch.from_numpy(labels.label)
        self._clean = None if labels.clean_label is None else torch.from_numpy(labels.clean_label)
        self._means = EpochMeans()
        self._selections = SelectionCounts()
        # Per sample the losses of the networks at its latest visit, and 1 once it was visited in this epoch.
        self._losses: SampleBuffer | None = None
        self._said_nothing_learned = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "means": self._means.state_dict(),
            "selections": self._selections.state_dict(),
            "losses": None if self._losses is None else self._losses.rows,
            "selector_acted": self.selector_acted,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._means.load_state_dict(state_dict["means"])
        self._selections.load_state_dict(state_dict["selections"])
        # Checkpoints of earlier versions do not say.
        self.selector_acted = state_dict.get("selector_acted")
        rows = state_dict["losses"]
        self._losses = None
        if rows is not None:
            self._losses = SampleBuffer(len(self._label), rows.shape[1], momentum=0.0)
            self._losses.set_extra_state({"rows": rows})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self.selector_acted = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        loss: Tensor = outputs["terms"]["loss"]
        # On an accelerator this check would synchronise at every step, so it is made at the end of the epoch.
        if loss.device.type == "cpu" and not torch.isfinite(loss):
            raise diverged(trainer, "the loss", f"; samples {batch.index[:10].tolist()} and others were in the batch")
        predicted = outputs["logits"].mean(dim=0).argmax(dim=1)
        one = torch.ones((), device=loss.device)
        values = {f"{TRAIN}/{name}": (value, one) for name, value in outputs["terms"].items()}
        count = one * len(batch.label)
        values[ACC_OBSERVED] = ((predicted == batch.label).sum(), count)
        if pl_module.method.selector is not None:
            values[_WEIGHED] = ((outputs["weight"] != 1).sum(), count)
        if self._clean is not None:
            self._clean = self._clean.to(loss.device)
            clean = self._clean[batch.index]
            wrong = clean != batch.label
            values[ACC_CLEAN] = ((predicted == clean).sum(), count)
            values[MEMORISED] = (((predicted == batch.label) & wrong).sum(), wrong.sum())
            if pl_module.method.selector is not None:
                self._selections.add(outputs["weight"] > 0, ~wrong)
            values |= _instantaneous(
                outputs["logits"], batch.label, {CONFIDENCE_CLEAN: ~wrong, CONFIDENCE_WRONG: wrong}
            )
            if outputs.get("losses") is not None:
                self._keep_losses(outputs["losses"], batch.index)
        else:
            values |= _instantaneous(outputs["logits"], batch.label, {CONFIDENCE: torch.ones_like(batch.label) > 0})
        self._means.add(values)

    def _keep_losses(self, losses: Tensor, index: Tensor) -> None:
        rows = torch.cat([losses.T, losses.new_ones(losses.shape[1], 1)], dim=1)
        if self._losses is None:
            self._losses = SampleBuffer(len(self._label), rows.shape[1], momentum=0.0)
        self._losses.to(losses.device).update(rows, index)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelModule)
        means = _with_deviations(self._means.take())
        self.selector_acted = means.pop(_WEIGHED, 0.0) > 0.0 or self.selector_acted
        if not torch.isfinite(torch.tensor(means[LOSS])):
            raise diverged(trainer, "the loss")
        if not self._said_nothing_learned and _learned_nothing(means):
            self._said_nothing_learned = True
            if trainer.is_global_zero:
                log.warning(
                    "epoch %d: the base loss was 0 in every step, so that the method learned nothing%s",
                    trainer.current_epoch + 1,
                    ""
                    if pl_module.method.selector is None
                    else "; the fraction of samples that it selected is train/selected",
                )
        metrics = means | self._selections.take() | self._rankings_by_loss() | self._confidences(pl_module)
        for name, value in metrics.items():
            # Already equal on all ranks; the argument tells Lightning that they are reduced.
            pl_module.log(name, value, sync_dist=True)

    def _rankings_by_loss(self) -> dict[str, float]:
        if self._clean is None or self._losses is None:
            return {}
        rows = self._losses.rows.clone().cpu()
        self._losses.rows.zero_()
        seen = rows[:, -1] > 0
        wrong = (self._clean.cpu() != self._label)[seen]
        if not wrong.any() or wrong.all():
            return {}
        return per_network(TRAIN, AUROC_OF_LOSS, [auroc(column[seen], wrong) for column in rows[:, :-1].T])

    def _confidences(self, module: NoisyLabelModule) -> dict[str, float]:
        wrong = None if self._clean is None else self._clean.cpu() != self._label
        metrics: dict[str, float] = {}
        if wrong is not None and (not wrong.any() or wrong.all()):
            return metrics
        count = len(module.method.networks)
        for number in range(count):
            for name, part in module.method.of_network(number):
                confidence = part.confidence(self._label)
                if confidence is not None:
                    values = _described(confidence.cpu(), wrong)
                    network = None if count == 1 else number
                    metrics |= {str(MetricName(name, quantity, network)): value for quantity, value in values.items()}
        selector = module.method.selector
        score = None if selector is None else selector.confidence(self._label)
        if score is not None and wrong is not None:
            rows = score.cpu().reshape(-1, len(wrong))
            metrics |= per_network(SELECT, AUROC, [auroc(-row, wrong) for row in rows])
        return metrics


def _described(confidence: Tensor, wrong: Tensor | None) -> dict[str, float]:
    """Figures of a part's confidence (N,); ``wrong`` is bool (N,), or None where nobody knows."""
    if wrong is None:
        return {CONFIDENCE: float(confidence.mean()), f"{CONFIDENCE}_std": float(confidence.std(correction=0))}
    clean, noisy = confidence[~wrong], confidence[wrong]
    return {
        CONFIDENCE_CLEAN: float(clean.mean()),
        CONFIDENCE_CLEAN_STD: float(clean.std(correction=0)),
        CONFIDENCE_WRONG: float(noisy.mean()),
        CONFIDENCE_WRONG_STD: float(noisy.std(correction=0)),
        AUROC: auroc(1.0 - confidence, wrong),
    }


_SQUARE = "_square"


def _instantaneous(logits: Tensor, label: Tensor, groups: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums and counts of each network's probability of the given labels and of its square, for groups of samples.

    Args:
        logits: (M, B, K).
        label: int64 (B,).
        groups: Bool (B,) by the name of the quantity.
    """
    probs = logits.detach().double() if logits.device.type == "cpu" else logits.detach().float()
    own = probs.softmax(dim=2)[:, torch.arange(len(label), device=label.device), label]
    values = {}
    for quantity, chosen in groups.items():
        count = chosen.sum()
        for number, row in enumerate(own):
            name = MetricName(TRAIN, quantity, None if len(own) == 1 else number)
            # Unlike a sum over the chosen rows, a product does not wait for an accelerator.
            values[str(name)] = ((row * chosen).sum(), count)
            values[str(name._replace(quantity=f"{quantity}{_SQUARE}"))] = ((row**2 * chosen).sum(), count)
    return values


def _learned_nothing(means: Mapping[str, float]) -> bool:
    """Whether the base loss of every network was exactly 0."""
    base = [value for name, value in of_quantity(means, BASE_LOSS) if name.group == TRAIN]
    return bool(base) and not any(base)


def _with_deviations(means: dict[str, float]) -> dict[str, float]:
    """Put standard deviations in place of the means of squares."""
    result = {}
    for name, value in means.items():
        its = MetricName.parse(name)
        if its.quantity.endswith(_SQUARE):
            quantity = its.quantity.removesuffix(_SQUARE)
            variance = max(0.0, value - means[str(its._replace(quantity=quantity))] ** 2)
            result[str(its._replace(quantity=f"{quantity}_std"))] = variance**0.5
        else:
            result[name] = value
    return result
