"""The default step: mix, forward, observe, base loss, select, reduce, penalise."""

from collections.abc import Mapping

import torch

from alasca_pl.core.distributed import sum_ranks, world_size
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, Targets
from alasca_pl.steps.method import Method
from alasca_pl.steps.step import Step, numbered, observe, penalise, step_views, unmixed_logits


class SupervisedStep(Step):
    """Mix, forward, observe, base loss, select, reduce, penalise.

    All means are over the global batch, so that several processes take the same step as one: a rank divides its sum by
    the global count and multiplies by the number of ranks, because gradients are averaged over ranks afterwards.

    Args:
        penalties: Penalties without state by name, on every network and in addition to those of the method.
    """

    views: tuple[str, ...] = ("default",)

    def __init__(self, penalties: Mapping[str, Regularizer] | None = None) -> None:
        self.penalties = dict(penalties or {})

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        image, targets = batch.image, Targets.unmixed(batch.label, batch.index)
        if method.mixer is not None:
            image, targets = method.mixer(batch, progress)
        outputs: list[NetworkOutput] = [network(image) for network in method.networks]

        unmixed = unmixed_logits(method, outputs, batch)
        observe(method, unmixed, batch)

        losses = torch.stack(
            [criterion(output.logits, targets, progress) for criterion, output in zip(method.criteria, outputs)]
        )
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
