"""The only LightningModule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from alasca_pl.core.checkpoint import CHECKPOINT_KEY, not_finite, pack
from alasca_pl.core.errors import UserError
from alasca_pl.core.metric_names import LOSS_OF_STEP, VAL, MetricName, accuracy
from alasca_pl.core.types import Batch, DataFacts, Progress
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.step import Step
from alasca_pl.training.accuracy import SplitAccuracy
from alasca_pl.training.optim import OptimConfig
from alasca_pl.training.phases import Phase, in_order, make_optimizer, phase_at
from alasca_pl.training.predict import PredictRule, check_rule, predict, rules_for


class NoisyLabelModule(L.LightningModule):
    """Optimises the sum of the networks' losses with one optimiser, and measures accuracy on evaluation splits.

    The networks share no parameter, so the gradient of the sum with respect to one network is that of its own loss.
    Clipping and gradient transforms, which would couple them, are applied per network.

    Args:
        method: The method.
        step: How a batch becomes a loss.
        optim: How to make optimiser and schedule.
        facts: Facts about the data.
        predict_rule: Rule behind ``val/acc`` and ``test/acc``.
        predict_average: What the rule averages.
        config: The run's resolved config as plain containers; kept in checkpoints.
        phases: Phases after the run's beginning, in any order.
        renewed: From the number of a network and the start of a phase to a network with new weights; needed if a phase renews
            anything.

    Attributes:
        command: ``overrides`` and ``config_dirs`` of the command, kept in checkpoints for a resume; empty without a command.
    """

    def __init__(
        self,
        method: Method,
        step: Step,
        optim: OptimConfig,
        facts: DataFacts,
        predict_rule: PredictRule = "main",
        predict_average: Literal["logits", "probs"] = "logits",
        config: dict[str, Any] | None = None,
        phases: Sequence[Phase] = (),
        renewed: Callable[[int, int], Network] | None = None,
    ) -> None:
        super().__init__()
        check_rule(predict_rule, predict_average)
        self.method = method
        self.step = step
        self.optim = optim
        self.facts = facts
        self.predict_rule: PredictRule = predict_rule
        self.predict_average: Literal["logits", "probs"] = predict_average
        self.config = config or {}
        self.command: dict[str, list[str]] = {}
        self.phases = in_order(phases)
        self._renewed = renewed
        # The epoch whose phase the optimizer is made for.
        self._optimizer_epoch = 0
        has_heads = any(len(network.aux_heads) for network in method.networks)  # type: ignore[arg-type]
        self.rules = rules_for(has_heads)
        count = len(method.networks)
        self._accuracy = nn.ModuleDict(
            {
                split: SplitAccuracy(self.rules, predict_average, facts.num_classes, count, self.measured_rule)
                for split in facts.eval_splits
            }
        )

    @property
    def measured_rule(self) -> PredictRule:
        """The module's rule; without auxiliary heads every rule is ``main``."""
        return self.predict_rule if self.predict_rule in self.rules else "main"

    def forward(self, image: Tensor) -> Tensor:
        """Classify normalised images (B, C, H, W) by the module's rule; scores (B, K).

        Raises:
            UserError: If they are no tensor of floats.
        """
        if not isinstance(image, Tensor) or not image.is_floating_point():
            found = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise UserError(
                f"the module takes normalised images, got {found}; see normalise and predict of an opened run"
            )
        return predict([network(image) for network in self.method.networks], self.predict_rule, self.predict_average)

    def progress(self) -> Progress:
        """Position in the run."""
        return Progress(
            epoch=self.current_epoch,
            step=self.trainer.global_step,
            max_epochs=self.trainer.max_epochs or 0,
            steps_per_epoch=int(self.trainer.num_training_batches),
        )

    def on_train_epoch_start(self) -> None:
        # Otherwise an epoch without validation would have the accuracies of an earlier one.
        self.trainer.callback_metrics.clear()
        phase = phase_at(self.phases, self.current_epoch)
        # After the callbacks, so that a scan before this epoch sees the networks as they were trained.
        if phase is not None and phase.start == self.current_epoch:
            self._renew(phase)
            self._optimizer_epoch = self.current_epoch
            self.trainer.strategy.setup_optimizers(self.trainer)

    def _renew(self, phase: Phase) -> None:
        for number, network in enumerate(self.method.networks if phase.renew else ()):
            assert self._renewed is not None
            fresh = self._renewed(number, phase.start)
            for name in phase.renew:
                network.part(name).load_state_dict(fresh.part(name).state_dict())  # type: ignore[operator]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        phase = phase_at(self.phases, self.current_epoch)
        self.method.observes = phase is None or phase.observe
        result = self.step(self.method, batch, self.progress())
        self.log(LOSS_OF_STEP, result.loss.detach(), on_step=True, on_epoch=False)
        return {
            "loss": result.loss,
            "terms": result.terms,
            "logits": torch.stack(result.logits),
            "weight": result.weight,
            "losses": result.losses,
        }

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        phase = phase_at(self.phases, self.current_epoch)
        if phase is not None and phase.train is not None:
            for network in self.method.networks:
                kept = {id(one) for name in phase.train for one in network.part(name).parameters()}  # type: ignore[operator]
                for parameter in network.parameters():
                    # Optimizers pass over parameters without a gradient. Not by requires_grad, which data-parallel training
                    # reads only once.
                    parameter.grad = parameter.grad if id(parameter) in kept else None
        if self.method.gradient_transform is not None:
            for network in self.method.networks:
                for group in _main_and_heads(network):
                    self.method.gradient_transform(group, self.progress())

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if not gradient_clip_val:
            return
        for network in self.method.networks:
            for group in _main_and_heads(network):
                if gradient_clip_algorithm == "value":
                    nn.utils.clip_grad_value_(group, gradient_clip_val)
                else:
                    nn.utils.clip_grad_norm_(group, gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not in a batch-end hook: a checkpoint written at the end of the batch must contain settled rows and the
        # updated teacher.
        for part in self.method.parts():
            part.settle()
        for teacher, network in zip(self.method.teachers, self.method.networks):
            teacher.update(network)  # type: ignore[operator]

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        outputs = [network(batch.image) for network in self.method.networks]
        self._accuracy[self._split_name(dataloader_idx)].update(outputs, batch.label)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        for split in self.facts.eval_splits:
            for name, value in self._accuracy[split].take().items():  # type: ignore[operator]
                self.log(accuracy(split, name), value, sync_dist=True)
                if name == self.measured_rule:
                    self.log(accuracy(split), value, sync_dist=True)
            for name, figure in self._accuracy[split].take_by_class().items():  # type: ignore[operator]
                # Equal on all ranks; the argument tells Lightning so.
                self.log(str(MetricName(split, name)), figure, sync_dist=True)

    def _split_name(self, dataloader_idx: int) -> str:
        loaders = self.trainer.val_dataloaders
        return list(loaders)[dataloader_idx] if isinstance(loaders, dict) else VAL

    def optimizer_at(self, epoch: int) -> tuple[Optimizer, LRScheduler | None]:
        """Make optimiser and schedule as they are when the phase of an epoch begins."""
        parameters: Iterable[Any] = self.method.networks.parameters()
        groups = [group for part in self.method.parts() for group in part.parameter_groups()]
        if groups:
            parameters = [{"params": list(parameters)}, *groups]
        return make_optimizer(self.optim, self.phases, epoch, parameters)

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.optimizer_at(self._optimizer_epoch)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning makes the optimizer after this, and then gives it the state of that epoch's.
        self._optimizer_epoch = checkpoint["epoch"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        broken = not_finite(checkpoint["state_dict"])
        if broken is not None:
            # The loss is looked at before the step that may do this, and no later one follows at the end of an epoch.
            raise diverged(self.trainer, broken)
        precision, run_ids = str(self.trainer.precision), _run_ids(self.config, self.trainer)
        checkpoint[CHECKPOINT_KEY] = pack(self.config, self.facts, self.command, precision, run_ids)


def _run_ids(config: dict[str, Any], trainer: L.Trainer) -> dict[str, str]:
    """Ids of the run in the services of its loggers, by the loggers' names in the config."""
    if not trainer.is_global_zero:
        return {}
    names = [name for name, node in config.get("logger", {}).items() if node]
    return {name: logger.version for name, logger in zip(names, trainer.loggers) if isinstance(logger.version, str)}


def diverged(trainer: L.Trainer, what: str, where: str = "") -> FloatingPointError:
    """The error for numbers that are no longer finite, with what helps."""
    return FloatingPointError(
        f"{what} is not finite in epoch {trainer.current_epoch + 1}, step {trainer.global_step}{where}; "
        "try a smaller optim.optimizer.lr, or clip gradients with trainer.gradient_clip_val"
    )


def _main_and_heads(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of a network without its auxiliary heads, and those of its heads if it has any.

    They are separate, because in a norm or a ranking over all parameters the heads would change the steps of the main
    network even with strength 0.
    """
    heads = {id(parameter) for parameter in network.aux_heads.parameters()}  # type: ignore[union-attr]
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in network.parameters():
        groups[id(parameter) in heads].append(parameter)
    return [group for group in groups if group]
