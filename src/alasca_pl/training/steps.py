"""How a batch becomes a loss."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import sum_ranks, world_size
from alasca_pl.core.modes import evaluating
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.training.parts import Parts


class Step(Protocol):
    """Turns one batch of the training loader into a loss.

    Attributes:
        views: Names of the views of each sample that it wants, e.g. ``("weak", "strong")``; the first is ``Batch.image``,
            the others are ``Batch.views``. ``default`` is the augmentation that the data set is configured with.
    """

    views: tuple[str, ...]

    def __call__(self, parts: Parts, batch: Batch, progress: Progress) -> StepResult:
        """Return the loss to differentiate and what to log."""
        ...


class SupervisedStep:
    """Mix, forward, observe, base loss, select, reduce, penalise.

    All means are over the global batch, so that several processes take the step of one: a rank divides its sum by the
    global count and multiplies by the number of ranks, whose gradients are averaged afterwards.

    Args:
        penalties: Penalties without state by name, on every network and besides those of the parts.
    """

    views: tuple[str, ...] = ("default",)

    def __init__(self, penalties: Mapping[str, Regularizer] | None = None) -> None:
        self.penalties = dict(penalties or {})

    def __call__(self, parts: Parts, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        image, targets = batch.image, Targets.unmixed(batch.label, batch.index)
        if parts.mixer is not None:
            image, targets = parts.mixer(batch, progress)
        outputs: list[NetworkOutput] = [network(image) for network in parts.networks]

        unmixed = unmixed_logits(parts, outputs, batch)
        observe(parts, unmixed, batch.index)

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

        terms = numbered("loss_base", base.detach())
        views = [StepView(output, targets, loss, row, progress) for output, loss, row in zip(outputs, losses, weight)]
        total = penalise(parts, base.sum(), terms, views, batch_size, self.penalties)
        if parts.selector is not None:
            terms |= numbered("selected", (weight > 0).to(losses.dtype).sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight, losses.detach())


def unmixed_logits(parts: Parts, outputs: Sequence[NetworkOutput], batch: Batch) -> list[Tensor]:
    """Return the predictions for the images as they are that each network's parts observe.

    Args:
        parts: The method.
        outputs: What each network said of the images, which a mixer may have mixed.
        batch: The batch.

    Returns:
        M tensors (B, K), detached: those of the teacher that the network listens to, or its own.
    """
    if len(parts.teachers):
        taught = [teacher(batch.image).logits.detach() for teacher in parts.teachers]
        shifts = [int(teacher.listen == "peer") for teacher in parts.teachers]
        return [taught[(number + shift) % len(taught)] for number, shift in enumerate(shifts)]
    if parts.mixer is None:
        return [output.logits.detach() for output in outputs]
    return [_without_trace(network, batch.image) for network in parts.networks]


def observe(parts: Parts, unmixed: Sequence[Tensor], index: Tensor) -> None:
    """Let every part of every network see its predictions (B, K) for the unmixed samples."""
    for number, logits in enumerate(unmixed):
        for _, part in parts.of_network(number):
            part.observe(logits, index)


def penalise(
    parts: Parts,
    total: Tensor,
    terms: dict[str, Tensor],
    views: Sequence[StepView],
    batch_size: Tensor,
    penalties: Mapping[str, Regularizer] | None = None,
) -> Tensor:
    """Add all penalties to a loss, and to the terms each of them and the sum.

    Args:
        parts: The method.
        total: Scalar, the networks' losses so far.
        terms: Takes ``loss_<name>`` and ``loss``.
        views: What the penalties of each network look at.
        batch_size: Size of the global batch over the number of ranks.
        penalties: Further ones, for every network.

    Returns:
        The scalar to differentiate.
    """
    for number, (mapping, view) in enumerate(zip(parts.regularizers, views)):
        for name, regularizer in (*mapping.items(), *(penalties or {}).items()):  # type: ignore[operator]
            penalty = regularizer(view).sum() / batch_size
            total = total + regularizer.strength * penalty
            terms[_suffix(f"loss_{name}", number, len(parts.networks))] = penalty.detach()
    terms["loss"] = total.detach()
    return total


@torch.no_grad()
def _without_trace(network: nn.Module, image: Tensor) -> Tensor:
    """Logits of a second pass, in evaluation mode so that it leaves batch-norm statistics alone."""
    with evaluating(network):
        return network(image).logits


def _suffix(name: str, number: int, count: int) -> str:
    return name if count == 1 else f"{name}/{number}"


def numbered(name: str, values: Tensor) -> dict[str, Tensor]:
    """Name one value (M,) per network: with a number behind a slash if there are several."""
    return {_suffix(name, number, len(values)): value for number, value in enumerate(values)}
