"""How a batch becomes a loss."""

from typing import Protocol

import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import sum_ranks, world_size
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.training.parts import Parts


class Step(Protocol):
    """Turns one batch of the training loader into a loss."""

    def __call__(self, parts: Parts, batch: Batch, progress: Progress) -> StepResult:
        """Return the loss to differentiate and what to log."""
        ...


class SupervisedStep:
    """Mix, forward, observe, base loss, select, reduce, penalise.

    All means are over the global batch, so that several processes take the step of one: a rank divides its sum by the
    global count and multiplies by the number of ranks, whose gradients are averaged afterwards.
    """

    def __call__(self, parts: Parts, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        image, targets = batch.image, Targets.unmixed(batch.label, batch.index)
        if parts.mixer is not None:
            image, targets = parts.mixer(image, targets, progress)
        outputs: list[NetworkOutput] = [network(image) for network in parts.networks]

        unmixed = _unmixed_logits(parts, outputs, batch)
        for number, logits in enumerate(unmixed):
            for _, part in parts.of_network(number):
                part.observe(logits, batch.index)

        losses = torch.stack(
            [criterion(output.logits, targets, progress) for criterion, output in zip(parts.criteria, outputs)]
        )
        weight = torch.ones_like(losses)
        if parts.selector is not None:
            weight = parts.selector(losses.detach(), unmixed, targets, progress).detach()

        # One collective for all denominators: the summed weights of each network, then the batch size.
        counts = torch.cat([weight.sum(dim=1), weight.new_tensor([float(len(batch.label))])])
        counts = sum_ranks(counts) / world_size()
        selected, batch_size = counts[:-1], counts[-1]
        share = batch_size if parts.selector is not None and parts.selector.normalise == "batch" else selected
        # An empty selection must still touch all parameters with a gradient of zero.
        base = (weight * losses).sum(dim=1) / torch.where(share > 0, share, torch.ones_like(share))

        total = base.sum()
        terms = _numbered("loss_base", base.detach())
        for number, mapping in enumerate(parts.regularizers):
            view = StepView(outputs[number], targets, losses[number], weight[number], progress)
            for name, regularizer in mapping.items():  # type: ignore[operator]
                penalty = regularizer(view).sum() / batch_size
                total = total + regularizer.strength * penalty
                terms[_suffix(f"loss_{name}", number, len(parts.networks))] = penalty.detach()
        terms["loss"] = total.detach()
        if parts.selector is not None:
            terms |= _numbered("selected", (weight > 0).to(losses.dtype).sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight)


def _unmixed_logits(parts: Parts, outputs: list[NetworkOutput], batch: Batch) -> list[Tensor]:
    """Predictions for the images as they are, M times (B, K), detached."""
    if len(parts.teachers):
        return [teacher(batch.image).logits.detach() for teacher in parts.teachers]
    if parts.mixer is None:
        return [output.logits.detach() for output in outputs]
    return [_without_trace(network, batch.image) for network in parts.networks]


@torch.no_grad()
def _without_trace(network: nn.Module, image: Tensor) -> Tensor:
    """Logits of a second pass, in evaluation mode so that it leaves batch-norm statistics alone."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    logits = network(image).logits
    for module, training in modes.items():
        module.training = training
    return logits


def _suffix(name: str, number: int, count: int) -> str:
    return name if count == 1 else f"{name}/{number}"


def _numbered(name: str, values: Tensor) -> dict[str, Tensor]:
    return {_suffix(name, number, len(values)): value for number, value in enumerate(values)}
