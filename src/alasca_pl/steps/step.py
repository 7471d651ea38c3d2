"""The contract of a step, and functions that steps share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from alasca_pl.core.errors import UserError
from alasca_pl.core.modes import evaluating
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method


@runtime_checkable
class Step(Protocol):
    """Computes a loss from one batch of the training loader.

    Attributes:
        views: The views of each sample that it needs, e.g. ``("weak", "strong")``; the first is ``Batch.image``, the
            others are ``Batch.views``. ``default`` is the augmentation that the data set is configured with; an object
            may replace a name, see ``alasca_pl.data.views.make_view``.

    A step may have a function ``extra_heads(feature_size, num_classes, norm)`` that makes a network's further heads, a list of
    modules. It applies ``network.extra_heads`` to ``NetworkOutput.features`` itself, in the passes in which it needs them.
    """

    views: tuple[Any, ...]

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Return the loss to differentiate and what to log."""
        ...


def unmixed_logits(method: Method, outputs: Sequence[NetworkOutput], batch: Batch) -> list[Tensor]:
    """Return the predictions for the unmixed images, which each network's parts observe.

    Args:
        method: The method.
        outputs: Of each network for the images, which a mixer may have mixed.
        batch: The batch.

    Returns:
        M tensors (B, K), detached: those of the teacher that ``listen`` selects, or the network's own.
    """
    if len(method.teachers):
        taught = [teacher(batch.image).logits.detach() for teacher in method.teachers]
        shifts = [int(teacher.listen == "peer") for teacher in method.teachers]
        return [taught[(number + shift) % len(taught)] for number, shift in enumerate(shifts)]
    if method.mixer is None:
        return [output.logits.detach() for output in outputs]
    return [_without_trace(network, batch.image) for network in method.networks]


def observe(method: Method, unmixed: Sequence[Tensor], batch: Batch) -> None:
    """Pass the predictions for the unmixed samples to the parts; called once per step, before any loss.

    First each part of each network, then the parts that exist once per run. A ``shared`` regularizer observes in
    ``penalise``.

    Args:
        method: The method.
        unmixed: See ``unmixed_logits``.
        batch: The batch.
    """
    if not method.observes:
        return
    for number, logits in enumerate(unmixed):
        for _, part in method.of_network(number):
            if not (isinstance(part, Regularizer) and part.shared):
                part.observe(logits, batch.index)
    run_parts = list(method.of_run())
    if run_parts:
        everyone = torch.stack(list(unmixed))
        for _, run_part in run_parts:
            run_part.observe(everyone, batch.label, batch.index)


def check_two_views(views: Sequence[Any], or_four: bool = False) -> None:
    """Raise ``ValueError`` unless two views, or four if a step can use them, are named."""
    if isinstance(views, str) or not (len(views) == 2 or (or_four and len(views) == 4)):
        also = " or four" if or_four else ""
        raise ValueError(f"views must name two views{also}, e.g. step.views=[weak,strong], got {views!r}")


def idle_heads(network: Network) -> Tensor:
    """0, with a gradient of 0 for further heads: every parameter needs one, also in steps without a loss on these heads."""
    return torch.stack([0.0 * parameter.sum() for parameter in network.extra_heads.parameters()]).sum()


def check_mixing(step: Step, method: Method, batch: Batch, offers: str, example: str) -> None:
    """Raise ``ValueError`` unless a step that mixes two views itself can use a method and a batch.

    Args:
        step: The step.
        method: The method.
        batch: The batch.
        offers: Name of a function that the step needs of the selector.
        example: A selector that has it.
    """
    name, selector = type(step).__name__, type(method.selector).__name__ if method.selector else "none"
    if not hasattr(method.selector, offers):
        raise ValueError(f"{name} needs a selector with {offers.replace('_', ' ')}, got {selector}; choose {example}")
    if method.mixer is not None:
        raise ValueError(f"{name} mixes the inputs itself, got mixer {type(method.mixer).__name__}; set mixer to null")
    if any(criterion.others != "none" for criterion in method.criteria):
        raise ValueError(
            f"{name} gives a criterion one prediction, but {type(method.criteria[0]).__name__} compares several"
        )
    if not batch.views:
        raise ValueError(f"{name} needs a second view of each sample, but the batch has one; see Step.views")


def needs_views(method: Method) -> bool:
    """Whether a criterion compares predictions for several views of a sample."""
    return any(criterion.others == "views" for criterion in method.criteria)


def base_losses(
    method: Method, passes: Sequence[Sequence[NetworkOutput]], targets: Targets, progress: Progress
) -> list[Tensor]:
    """What each sample costs each network, M tensors (B,), attached to the graph.

    Args:
        method: The method.
        passes: Of each network the outputs for one or more views of the same rows.
        targets: What each row is a mix of.
        progress: Position in the run.
    """
    first = [outputs[0].logits for outputs in passes]
    losses = []
    for number, criterion in enumerate(method.criteria):
        further: dict[str, tuple[Tensor, ...]] = {}
        if criterion.others == "networks":
            further["others"] = (*first[number + 1 :], *first[:number])
        elif criterion.others == "views":
            further["others"] = tuple(output.logits for output in passes[number][1:])
        losses.append(criterion(first[number], targets, progress, **further))
        if losses[-1].shape != first[number].shape[:1]:
            raise UserError(
                f"the criterion {type(criterion).__name__} must return one loss per row, shape ({len(first[number])},), got "
                f"shape {tuple(losses[-1].shape)}; leave means and sums over rows out"
            )
    return losses


def step_views(
    outputs: Sequence[NetworkOutput],
    targets: Targets,
    losses: Sequence[Tensor] | Tensor,
    weight: Tensor,
    progress: Progress,
) -> list[StepView]:
    """Collect what the penalties of each network use; the only place where views are made.

    Args:
        outputs: Of M networks for the same rows.
        targets: What each row is a mix of.
        losses: M base losses (B,), attached to the graph.
        weight: (M, B) selection weights, detached.
        progress: Position in the run.

    Returns:
        One view per network.
    """
    outputs = list(outputs)
    return [
        StepView(output, targets, loss, row, progress, peers=(*outputs[number + 1 :], *outputs[:number]))
        for number, (output, loss, row) in enumerate(zip(outputs, losses, weight))
    ]


def penalise(
    method: Method,
    total: Tensor,
    terms: dict[str, Tensor],
    views: Sequence[StepView],
    unmixed: Sequence[Tensor],
    index: Tensor,
    batch_size: Tensor,
    penalties: Mapping[str, Regularizer] | None = None,
) -> Tensor:
    """Add all penalties to a loss, and to the terms each of them and the sum.

    A ``shared`` regularizer observes network m here, between the penalties of network m - 1 and of network m.

    Args:
        method: The method.
        total: Scalar, the networks' losses so far.
        terms: Gets the entries ``loss_<name>`` and ``loss``.
        views: What the penalties of each network use.
        unmixed: See ``unmixed_logits``.
        index: int64 (B,), of the unmixed samples.
        batch_size: Size of the global batch over the number of ranks.
        penalties: Further ones without state, for every network.

    Returns:
        The scalar to differentiate.
    """
    for number, (mapping, view) in enumerate(zip(method.regularizers, views)):
        for name, regularizer in (*mapping.items(), *(penalties or {}).items()):  # type: ignore[operator]
            if regularizer.shared and method.observes:
                regularizer.observe(unmixed[number], index)
            penalty = regularizer(view).sum() / batch_size
            total = total + regularizer.strength * penalty
            terms[_suffix(f"loss_{name}", number, len(method.networks))] = penalty.detach()
    terms["loss"] = total.detach()
    return total


@torch.no_grad()
def _without_trace(network: nn.Module, image: Tensor) -> Tensor:
    """Logits of a second forward pass, in evaluation mode so that it does not change batch-norm statistics."""
    with evaluating(network):
        return network(image).logits


def _suffix(name: str, number: int, count: int) -> str:
    return name if count == 1 else f"{name}/{number}"


def numbered(name: str, values: Tensor) -> dict[str, Tensor]:
    """Name one value (M,) per network: with a number behind a slash if there are several."""
    return {_suffix(name, number, len(values)): value for number, value in enumerate(values)}
