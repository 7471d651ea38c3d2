"""The default step: mix, forward, observe, base loss, select, reduce, penalise."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import sum_ranks, world_size
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import Batch, NetworkOutput, NormOutput, Progress, StepResult, Targets
from alasca_pl.steps.method import Method
from alasca_pl.steps.step import (
    Step,
    base_losses,
    needs_views,
    numbered,
    observe,
    penalise,
    step_views,
    unmixed_logits,
)


class SupervisedStep(Step):
    """Mix, forward, observe, base loss, select, reduce, penalise.

    All means are over the global batch, so that several processes take the same step as one: a rank divides its sum by
    the global count and multiplies by the number of ranks, because gradients are averaged over ranks afterwards.

    Only a criterion sees further views. Everything else uses the first one.

    Args:
        penalties: Penalties without state by name, on every network and in addition to those of the method.
        views: The views of each sample; see ``Step.views``. More than one only for a criterion that compares views.
        joint_views: Let networks predict for all views in one batch, so that they share statistics of batch normalisation,
            instead of one view after the other.

    Raises:
        ValueError: If there is no view, or at a step if a criterion needs a view that the batch does not have.
    """

    views: tuple[Any, ...]

    def __init__(
        self,
        penalties: Mapping[str, Regularizer] | None = None,
        views: Sequence[Any] = ("default",),
        joint_views: bool = False,
    ) -> None:
        if isinstance(views, str) or len(views) < 1:
            raise ValueError(f"views must name at least one view, e.g. step.views=[default,default], got {views!r}")
        self.penalties = dict(penalties or {})
        self.views = tuple(views)
        self.joint_views = joint_views

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        image, targets = batch.image, Targets.unmixed(batch.label, batch.index)
        if method.mixer is not None:
            image, targets = method.mixer(batch, progress)
        images = [image]
        if needs_views(method):
            if not batch.views:
                raise ValueError("the criterion compares views of a sample, but the batch has one; see Step.views")
            # All views of a sample are mixed with the same partner and the same weights.
            images += [
                view if method.mixer is None else method.mixer(batch._replace(image=view), progress)[0]
                for view in batch.views
            ]
        passes = [self._passes(network, images) for network in method.networks]
        outputs = [each[0] for each in passes]

        unmixed = unmixed_logits(method, outputs, batch)
        observe(method, unmixed, batch)

        losses = torch.stack(base_losses(method, passes, targets, progress))
        weight = torch.ones_like(losses)
        if method.selector is not None:
            weight = method.selector(losses.detach(), unmixed, targets, progress).detach()

        # One collective for all denominators: the summed weights of each network, then the batch size.
        counts = torch.cat([weight.sum(dim=1), weight.new_tensor([float(len(batch.label))])])
        counts = sum_ranks(counts) / world_size()
        selected, batch_size = counts[:-1], counts[-1]
        divisor = batch_size if method.selector is not None and method.selector.normalise == "batch" else selected
        # With an empty selection all parameters must still get a gradient of zero.
        base = (weight * losses).sum(dim=1) / torch.where(divisor > 0, divisor, torch.ones_like(divisor))

        terms = numbered("loss_base", base.detach())
        views = step_views(outputs, targets, losses, weight, progress)
        total = penalise(method, base.sum(), terms, views, unmixed, batch.index, batch_size, self.penalties)
        if method.selector is not None:
            terms |= numbered("selected", (weight > 0).to(losses.dtype).sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight, losses.detach())

    def _passes(self, network: nn.Module, images: Sequence[Tensor]) -> list[NetworkOutput]:
        """Outputs of a network for several views of the same samples."""
        if not self.joint_views or len(images) == 1:
            return [network(image) for image in images]
        together = network(torch.cat(list(images)))
        return [_rows(together, number, len(images)) for number in range(len(images))]


def _rows(value: Any, number: int, count: int) -> Any:
    """One of ``count`` equal parts of the rows of a tensor, or of all tensors in nested tuples."""
    if isinstance(value, NormOutput):
        return NormOutput(_rows(value.value, number, count), value.scale)
    if isinstance(value, tuple):
        parts = [_rows(each, number, count) for each in value]
        return NetworkOutput(*parts) if isinstance(value, NetworkOutput) else tuple(parts)
    return value.chunk(count)[number]
