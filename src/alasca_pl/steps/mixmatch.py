"""Semi-supervised training of networks on the labels that a selector keeps and on guessed labels for the rest."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.batch_mean import own_slope
from alasca_pl.core.distributed import gather_rows, gather_with_places, sum_ranks, world_size
from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Regularizer
from alasca_pl.core.schedules import linear_ramp
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.models.network import Network
from alasca_pl.models.norms import Norm
from alasca_pl.steps.contrast import ContrastiveLoss
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixing import draw_pairs
from alasca_pl.steps.pseudo_labels import co_guess, co_refine, sharpen
from alasca_pl.steps.step import (
    Step,
    base_losses,
    check_mixing,
    check_two_views,
    idle_heads,
    numbered,
    observe,
    penalise,
    step_views,
    unmixed_logits,
)
from alasca_pl.steps.supervised import SupervisedStep


class TellsCleanProbability(Protocol):
    """What ``MixMatchStep`` needs from a selector in addition to weights.

    A selector may also have ``class_weights() -> Tensor``, (M, K), with which the classes of labelled targets then count.
    """

    def clean_probability(self, index: Tensor) -> Tensor:
        """Return the probability, for each network, that each sample's label is correct, float (M, B) in [0, 1]."""
        ...


class _Mixed(NamedTuple):
    """One network's predictions for mixed rows. Shapes: R rows."""

    log_probs: Tensor  # (R, K), attached to the graph
    target: Tensor  # (R, K)
    labelled: Tensor  # (R,), 1 where the label of the row's dominant sample is used
    unlabelled: Tensor  # (R,), 1 where a guess is


class _Pool(NamedTuple):
    """Images of all first views, then of all second ones. Shapes: B of this process, G of the global batch."""

    own: Tensor  # (2B, C, H, W)
    everywhere: Tensor  # (2G, C, H, W)
    place: Tensor  # (2B,), where the own rows are in the latter


class MixMatchStep(Step):
    """Supervised for some epochs, then MixMatch with labels that are refined where the selector keeps them and guessed elsewhere.

    Samples to which the selector gives a weight above 0 are labelled; the labels of the others are ignored. Targets are
    computed from each network's predictions for the first two views of each sample. Then the last two views, which may be
    the same ones, and targets are mixed, and each network is trained on the mixture, with cross-entropy on labelled rows,
    squared error on unlabelled rows and a penalty on the mean prediction's distance from uniform. A contrastive loss between
    the last two views of unlabelled samples may be added.

    Differences from LiJunnan1992/DivideMix, whose loaders yield equal numbers of labelled and unlabelled samples and which
    trains one network for an epoch while the other stays as it is:

    * A batch is drawn from the whole training set, so that an epoch uses each sample once whatever is selected. A batch
      may have no labelled or no unlabelled samples; the corresponding term is then 0.
    * All networks are trained in each step. Guesses come from all of them in training mode, so that they depend on the
      same batch statistics as those of a single network; the original uses the other network in evaluation mode.
    * Regularizers use the unmixed first views, with given labels of all samples. The same forward pass gives the
      predictions for the targets, with and without regularizers, so that a penalty of strength 0 changes nothing.

    All means are over the global batch, and rows are mixed across it: several processes exchange their images and
    targets at each step. Batch-norm statistics are updated in each forward pass of a step: three, or four with a contrastive
    loss.

    Args:
        num_classes: K.
        seed: Of mixing weights and pairs.
        temperature: Targets are raised to the power of its inverse; 1 does not change them.
        alpha: Mixing weights are drawn from Beta(alpha, alpha); a row's own sample gets the larger weight.
        strength_unlabelled: Factor of the squared error at the end of its ramp.
        ramp_epochs: Epochs after the warm-up over which that factor rises from 0.
        warmup_epochs: Epochs of plain supervised training before.
        warmup_penalty: Factor of a penalty on confident predictions during the warm-up, for noise that is not
            uniform.
        mix: ``all`` trains on all rows; ``labelled`` on labelled ones only, mixed with any.
        strength_prior: Factor of the penalty on the mean prediction's distance from uniform.
        later_alpha: alpha from ``later_alpha_from`` on, or None for the same in all epochs.
        later_alpha_from: Epoch, from 0.
        views: Two views of each sample, or four: two for targets, then two to train on; see ``Step.views``.
        contrast: Contrastive loss on unlabelled samples, or None.

    Raises:
        ValueError: If an argument is outside its range, or at a step if the parts or the batch do not fit.

    Source: Li, Socher and Hoi, ICLR 2020, algorithm 1; Berthelot et al., NeurIPS 2019.

    References:
        Li, Socher and Hoi: DivideMix: Learning with Noisy Labels as Semi-supervised Learning. ICLR 2020.
        https://arxiv.org/abs/2002.07394
        Berthelot et al.: MixMatch: A Holistic Approach to Semi-Supervised Learning. NeurIPS 2019.
        https://arxiv.org/abs/1905.02249
        Code: LiJunnan1992/DivideMix@d9d3058
    """

    views: tuple[Any, ...]

    def __init__(
        self,
        num_classes: int,
        seed: int,
        temperature: float = 0.5,
        alpha: float = 4.0,
        strength_unlabelled: float = 25.0,
        ramp_epochs: float = 16,
        warmup_epochs: int = 10,
        warmup_penalty: float = 0.0,
        mix: Literal["all", "labelled"] = "all",
        strength_prior: float = 1.0,
        later_alpha: float | None = None,
        later_alpha_from: int = 150,
        views: Sequence[Any] = ("default", "default"),
        contrast: ContrastiveLoss | None = None,
    ) -> None:
        later = alpha if later_alpha is None else later_alpha
        for name, value in (("temperature", temperature), ("alpha", alpha), ("later_alpha", later)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        for name, value in (
            ("strength_unlabelled", strength_unlabelled),
            ("ramp_epochs", ramp_epochs),
            ("warmup_epochs", warmup_epochs),
            ("warmup_penalty", warmup_penalty),
            ("strength_prior", strength_prior),
            ("later_alpha_from", later_alpha_from),
        ):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if mix not in ("all", "labelled"):
            raise ValueError(f"unknown mix {mix!r}; choose one of all, labelled")
        check_two_views(views, or_four=True)
        self.num_classes = num_classes
        self.seed = seed
        self.temperature = temperature
        self.alpha = alpha
        self.later_alpha = later
        self.later_alpha_from = later_alpha_from
        self.strength_prior = strength_prior
        self.strength_unlabelled = strength_unlabelled
        self.ramp_epochs = ramp_epochs
        self.warmup_epochs = warmup_epochs
        self.mix = mix
        self.views = tuple(views)
        self.contrast = contrast
        penalties = {"confidence": ConfidencePenalty(warmup_penalty)} if warmup_penalty else None
        self._warmup = SupervisedStep(penalties)

    def extra_heads(self, feature_size: int, num_classes: int, norm: Norm) -> list[nn.Module]:
        """See ``Step``."""
        return [] if self.contrast is None else [self.contrast.make_head(feature_size, norm)]

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        check_mixing(self, method, batch, "clean_probability", "alasca_pl.methods.dividemix.MixtureFilter")
        networks: list[Network] = list(method.networks)  # type: ignore[arg-type]
        if progress.epoch < self.warmup_epochs:
            result = self._warmup(method, batch, progress)
            if self.contrast is None:
                return result
            return result._replace(loss=result.loss + sum(map(idle_heads, networks)))
        assert method.selector is not None
        targets = Targets.unmixed(batch.label, batch.index)
        outputs, second = _predict(method, batch)
        unmixed = unmixed_logits(method, outputs, batch)
        observe(method, unmixed, batch)
        losses = base_losses(method, [[output] for output in outputs], targets, progress)
        detached = torch.stack([loss.detach() for loss in losses])
        labelled = method.selector(detached, unmixed, targets, progress) > 0
        clean = cast(TellsCleanProbability, method.selector).clean_probability(batch.index)

        probs = [
            [full_precision(logits.detach()).softmax(dim=1) for logits in (output.logits, other)]
            for output, other in zip(outputs, second)
        ]
        guess = sharpen(co_guess([view for views in probs for view in views]), self.temperature)
        onehot = F.one_hot(batch.label, self.num_classes).to(guess.dtype)
        first, last = (batch.image, *batch.views)[-2:]
        place, first_views, second_views = gather_with_places(first, last)
        pool = _Pool(
            torch.cat([first, last]),
            torch.cat([first_views, second_views]),
            torch.cat([place, place + len(first_views)]),
        )
        mixed: list[_Mixed] = []
        for number in range(len(outputs)):
            refined = sharpen(
                co_refine(onehot, clean[number].to(guess.dtype), co_guess(probs[number])), self.temperature
            )
            target = torch.where(labelled[number].unsqueeze(1), refined, guess)
            mixed.append(self._train(method, number, pool, target, labelled[number], progress))

        of_class = getattr(method.selector, "class_weights", None)
        base, terms, batch_size = self._losses(
            mixed, len(batch.label), progress, None if of_class is None else of_class()
        )
        if self.contrast is not None:
            contrast = torch.stack(
                [self.contrast(network, first, last, ~row) for network, row in zip(networks, labelled)]
            )
            base = base + self.contrast.strength * contrast
            terms |= numbered("loss_contrast", contrast.detach()) | numbered("loss_base", base.detach())
        weight = labelled.to(detached.dtype)
        views = step_views(outputs, targets, losses, weight, progress)
        total = penalise(method, base.sum(), terms, views, unmixed, batch.index, batch_size)
        terms |= numbered("selected", weight.sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight, detached)

    def _train(
        self, method: Method, number: int, pool: _Pool, target: Tensor, labelled: Tensor, progress: Progress
    ) -> _Mixed:
        """Mix both views (2B rows) with any of the global batch and let a network predict."""
        image = pool.own
        (targets,) = gather_rows(target)
        target, targets, labelled = target.repeat(2, 1), targets.repeat(2, 1), labelled.repeat(2)
        rows, counted = torch.arange(len(image), device=image.device), 1.0
        if self.mix == "labelled":
            rows = labelled.nonzero().squeeze(1)
            if len(rows) == 0:
                # Every process must take part in the sum of gradients, if necessary with a gradient of zero; batch norm
                # needs two rows.
                rows, counted = torch.arange(2, device=image.device), 0.0
        alpha = self.alpha if progress.epoch < self.later_alpha_from else self.later_alpha
        own, order = self.draw(progress.step, number, len(pool.everywhere), alpha)
        partner = order.to(image.device)[pool.place[rows]]
        mixed_image = own * image[rows] + (1.0 - own) * pool.everywhere[partner]
        mixed_target = own * target[rows] + (1.0 - own) * targets[partner]
        logits = full_precision(method.networks[number](mixed_image).logits)
        used = labelled[rows].to(logits.dtype)
        return _Mixed(logits.log_softmax(dim=1), mixed_target, used * counted, (1.0 - used) * counted)

    def draw(self, step: int, number: int, rows: int, alpha: float | None = None) -> tuple[float, Tensor]:
        """Draw how to mix, a function of seed, step and network.

        Args:
            step: Optimiser steps so far.
            number: Number of the network.
            rows: R, rows of the global batch, first all first views, then all second ones.
            alpha: Of the weight's distribution; None for that of the first epochs.

        Returns:
            The weight of a row's own image in [0.5, 1] and the partner of each row, int64 (R,); the same on all ranks.
        """
        alpha = self.alpha if alpha is None else alpha
        return draw_pairs(self.seed, "mixmatch", step, number, alpha=alpha, rows=rows)

    def _losses(
        self, mixed: Sequence[_Mixed], batch_size: int, progress: Progress, class_weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Each network's loss (M,), its terms, and the size of the global batch over the number of ranks."""
        world, classes = world_size(), self.num_classes
        mean_probs = torch.stack([((m.labelled + m.unlabelled) @ m.log_probs.exp()) for m in mixed])
        rows = torch.stack([torch.stack([m.labelled.sum(), m.unlabelled.sum()]) for m in mixed])
        # One collective for all counts over the global batch.
        local = torch.cat([mean_probs.detach().flatten(), rows.flatten(), rows.new_tensor([float(batch_size)])])
        everywhere = sum_ranks(local) / world
        probs_everywhere = everywhere[: mean_probs.numel()].view_as(mean_probs)
        labelled, unlabelled = everywhere[mean_probs.numel() : -1].view_as(rows).unbind(dim=1)
        total = labelled + unlabelled

        weights = [None] * len(mixed) if class_weights is None else class_weights.unbind()
        loss_labelled = torch.stack(
            [
                m.labelled @ -((m.target if w is None else w.to(m.target) * m.target) * m.log_probs).sum(dim=1)
                for m, w in zip(mixed, weights)
            ]
        )
        loss_labelled = loss_labelled / _at_least_one(labelled)
        loss_unlabelled = torch.stack(
            [m.unlabelled @ (m.log_probs.exp() - m.target).square().mean(dim=1) for m in mixed]
        )
        loss_unlabelled = loss_unlabelled / _at_least_one(unlabelled)
        # The penalty is not a mean over rows.
        count = _at_least_one(total).unsqueeze(1)
        mean = own_slope(mean_probs / count, probs_everywhere / count)
        mean = torch.where(total.unsqueeze(1) > 0, mean, torch.full_like(mean, 1.0 / classes))
        loss_prior = -(mean.clamp_min(torch.finfo(mean.dtype).tiny) * classes).log().mean(dim=1)

        ramp = semi_supervised_ramp(progress, self.warmup_epochs, self.ramp_epochs)
        loss = loss_labelled + self.strength_unlabelled * ramp * loss_unlabelled + self.strength_prior * loss_prior
        named = {
            "loss_base": loss,
            "loss_labelled": loss_labelled,
            "loss_unlabelled": loss_unlabelled,
            "loss_prior": loss_prior,
        }
        terms = {key: value for name, each in named.items() for key, value in numbered(name, each.detach()).items()}
        return loss, terms, everywhere[-1]


class ConfidencePenalty(Regularizer):
    """Sum over classes of p log p, lowest for the uniform prediction."""

    def forward(self, view: StepView) -> Tensor:
        log_probs = full_precision(view.output.logits).log_softmax(dim=1)
        return (log_probs.exp() * log_probs).sum(dim=1)


def semi_supervised_ramp(progress: Progress, warmup_epochs: float, ramp_epochs: float) -> float:
    """Rise linearly, step by step, from 0 at the end of the warm-up to 1 ``ramp_epochs`` later."""
    position = progress.epoch + progress.step % progress.steps_per_epoch / progress.steps_per_epoch
    return max(0.0, linear_ramp(position - warmup_epochs, ramp_epochs))


def _predict(method: Method, batch: Batch) -> tuple[list[NetworkOutput], list[Tensor]]:
    """Outputs of each network for the first views, with a graph if regularizers need one, and of the second."""
    outputs: list[NetworkOutput] = []
    second: list[Tensor] = []
    for network, mapping in zip(method.networks, method.regularizers):
        with torch.set_grad_enabled(torch.is_grad_enabled() and len(mapping) > 0):  # type: ignore[arg-type]
            outputs.append(network(batch.image))
        with torch.no_grad():
            second.append(network(batch.views[0]).logits)
    # Weights that autocast has cached without a graph must not be used in forward passes that need one.
    torch.clear_autocast_cache()
    return outputs, second


def _at_least_one(count: Tensor) -> Tensor:
    return torch.where(count > 0, count, torch.ones_like(count))
