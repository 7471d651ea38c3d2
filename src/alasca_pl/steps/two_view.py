"""Training on a weak and a strong view of each sample, divided into clean, hard and purified samples."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import gather_with_places, sum_ranks, world_size
from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, Targets
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixing import draw_pairs, mix_among
from alasca_pl.steps.step import (
    Step,
    base_losses,
    check_mixing,
    check_two_views,
    numbered,
    observe,
    penalise,
    step_views,
    unmixed_logits,
)


class Groups(Protocol):
    """What happens with the samples of a batch, for each network; see ``TwoViewStep``. All are (M, B)."""

    @property
    def clean(self) -> Tensor: ...
    @property
    def hard(self) -> Tensor: ...
    @property
    def purified(self) -> Tensor: ...
    @property
    def label(self) -> Tensor: ...


class DividesSamples(Protocol):
    """What ``TwoViewStep`` needs from a selector in addition to weights."""

    def begin(self, epoch: int) -> None:
        """Called at each step before anything else."""
        ...

    def record(self, weak: Tensor, strong: Tensor, label: Tensor, index: Tensor) -> None:
        """Take probabilities (M, B, K) for both views of the samples of a step."""
        ...

    def division(self, label: Tensor, index: Tensor) -> Groups:
        """Return the groups of the samples of a batch."""
        ...


class TwoViewStep(Step):
    """The criterion on clean samples, a forgiving one on hard samples, mixup on both and on purified samples; on both views.

    Until ``warmup_epochs`` the criterion on all samples, for both views. Then the loss of a network is, over the global batch of
    size B, the sum over both views of: the criterion summed over clean samples, and ``strength_hard`` times the criterion for
    hard samples summed over these, both divided by B; and the mean of the criterion over mixed rows of clean, hard and purified
    samples, the last with their predicted classes. Each view is mixed by one factor, a sample's own image with the larger weight.

    Regularizers use the weak views, with given labels of all samples.

    Args:
        hard_criterion: For hard samples.
        seed: Of mixing weights and pairs.
        warmup_epochs: Epochs on all samples.
        strength_hard: Factor of the loss of hard samples.
        alpha: Mixing weights are drawn from Beta(alpha, alpha).
        views: A weak and a strong view of each sample; see ``Step.views``.

    Raises:
        ValueError: If an argument is outside its range, or at a step if the parts or the batch do not fit.

    Source: Li et al., CVPR 2023; JackYFL/DISC, algorithms/DISC.py.

    References:
        Li, Han, Shan and Chen: DISC: Learning from Noisy Labels via Dynamic Instance-Specific Selection and Correction.
        CVPR 2023. https://openaccess.thecvf.com/content/CVPR2023/html/Li_DISC_Learning_From_Noisy_Labels_via_Dynamic_Instance-Specific_Selection_and_CVPR_2023_paper.html
        Code: JackYFL/DISC@a21e910
    """

    views: tuple[Any, ...]

    def __init__(
        self,
        hard_criterion: Criterion,
        seed: int,
        warmup_epochs: int = 20,
        strength_hard: float = 1.0,
        alpha: float = 5.0,
        views: Sequence[Any] = ("weak", "strong"),
    ) -> None:
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        if not strength_hard >= 0:
            raise ValueError(f"strength_hard must be at least 0, got {strength_hard}; 0 leaves hard samples to mixup")
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        check_two_views(views)
        self.hard_criterion = hard_criterion
        self.seed = seed
        self.warmup_epochs = warmup_epochs
        self.strength_hard = strength_hard
        self.alpha = alpha
        self.views = tuple(views)

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        check_mixing(self, method, batch, "division", "alasca_pl.methods.disc.DynamicThresholds")
        assert method.selector is not None
        selector = cast(DividesSamples, method.selector)
        selector.begin(progress.epoch)
        targets = Targets.unmixed(batch.label, batch.index)
        images = (batch.image, batch.views[0])
        outputs: list[NetworkOutput] = [network(batch.image) for network in method.networks]
        strong: list[Tensor] = [network(batch.views[0]).logits for network in method.networks]
        unmixed = unmixed_logits(method, outputs, batch)
        observe(method, unmixed, batch)
        probs = [
            torch.stack([full_precision(logits.detach()).softmax(dim=1) for logits in each])
            for each in ([output.logits for output in outputs], strong)
        ]

        warming = progress.epoch < self.warmup_epochs
        groups = selector.division(batch.label, batch.index)
        weak_losses = base_losses(method, [[output] for output in outputs], targets, progress)
        losses = torch.stack(weak_losses)
        both = losses + torch.stack([one(logits, targets, progress) for one, logits in zip(method.criteria, strong)])
        weight = torch.ones_like(losses.detach())
        if not warming:
            weight = method.selector(losses.detach(), unmixed, targets, progress).detach()
        batch_size = sum_ranks(weight.new_tensor(float(len(batch.label)))) / world_size()
        if warming:
            terms = numbered("loss_clean", (both.sum(dim=1) / batch_size).detach())
            base = both.sum(dim=1) / batch_size
        else:
            forgiving = torch.stack(
                [
                    self.hard_criterion(output.logits, targets, progress)
                    + self.hard_criterion(logits, targets, progress)
                    for output, logits in zip(outputs, strong)
                ]
            )
            clean = (groups.clean * both).sum(dim=1) / batch_size
            hard = (groups.hard * forgiving).sum(dim=1) / batch_size
            mixed = torch.stack(
                [self._mixed(method, number, images, batch, groups, progress) for number in range(len(outputs))]
            )
            base = clean + self.strength_hard * hard + mixed
            named = {"loss_clean": clean, "loss_hard": hard, "loss_mixed": mixed}
            terms = {key: value for name, each in named.items() for key, value in numbered(name, each.detach()).items()}
            terms |= numbered("purified", groups.purified.to(losses.dtype).sum(dim=1) / batch_size)
        # After the losses: the groups are those of the epoch before.
        selector.record(probs[0], probs[1], batch.label, batch.index)
        terms |= numbered("loss_base", base.detach())
        views = step_views(outputs, targets, weak_losses, weight, progress)
        total = penalise(method, base.sum(), terms, views, unmixed, batch.index, batch_size)
        terms |= numbered("selected", (weight > 0).to(losses.dtype).sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight, losses.detach())

    def _mixed(
        self,
        method: Method,
        number: int,
        images: Sequence[Tensor],
        batch: Batch,
        groups: Groups,
        progress: Progress,
    ) -> Tensor:
        """Sum over both views of the mean loss of mixed rows."""
        used = groups.clean[number] | groups.hard[number] | groups.purified[number]
        place, everywhere, labels, indices = gather_with_places(used, groups.label[number], batch.index)
        total = torch.zeros((), device=used.device)
        for view, image in enumerate(images):
            _, everyone = gather_with_places(image)
            own, order = self.draw(progress.step, number, view, len(everywhere))
            mixture = mix_among(image, everyone, used, everywhere, place, labels, indices, own, order)
            logits = method.networks[number](mixture.image).logits
            loss = method.criteria[number](logits, mixture.targets, progress)
            count = everywhere.sum().to(loss.dtype) / world_size()
            total = total + (mixture.counted.to(loss.dtype) * loss).sum() / count.clamp_min(1.0 / world_size())
        return total

    def draw(self, step: int, number: int, view: int, rows: int) -> tuple[float, Tensor]:
        """Draw how to mix a view, a function of seed, step, network and view.

        Args:
            step: Optimiser steps so far.
            number: Number of the network.
            view: 0 for the weak views, 1 for the strong ones.
            rows: Size of the global batch.

        Returns:
            The weight of a row's own image in [0.5, 1] and an order of the rows, int64 (rows,); the same on all ranks.
        """
        return draw_pairs(self.seed, "two-view", step, number, view, alpha=self.alpha, rows=rows)
