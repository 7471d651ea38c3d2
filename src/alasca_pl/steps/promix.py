"""ProMix: maximal use of samples that are reliable, whose number grows; the others train a further head only."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from alasca_pl.core.distributed import gather_with_places, sum_ranks, world_size
from alasca_pl.core.numerics import full_precision
from alasca_pl.core.schedules import linear_ramp
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, Targets
from alasca_pl.models.network import Network
from alasca_pl.models.norms import Norm
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixing import Mixture, draw_pairs, low_frequency_mask, mix_among
from alasca_pl.steps.mixmatch import ConfidencePenalty
from alasca_pl.steps.pseudo_labels import sharpen
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


class KeepsAverages(Protocol):
    """What ``ProMixStep`` needs from a selector in addition to weights."""

    def average_predictions(self) -> tuple[Tensor, Tensor]:
        """Return average predictions for reliable and for other samples, (M, K) each."""
        ...

    def update_averages(self, kept: Tensor, others: Tensor) -> None:
        """Take the mean predictions of a step."""
        ...


class Reliable(NamedTuple):
    """Samples of a batch that a network takes as reliable, and the labels that it uses."""

    mask: Tensor
    """bool (M, B)."""
    label: Tensor
    """int64 (M, B)."""


def reliable_samples(base: Tensor, probs: Tensor, debiased: Tensor, label: Tensor, threshold: float) -> Reliable:
    """Add to a selection the samples whose given label a network predicts with confidence.

    Args:
        base: bool (M, B), the selection.
        probs: (M, B, K), predictions.
        debiased: (M, B, K), corrected predictions, which give the labels of samples that are not reliable.
        label: Given labels, int64 (B,).
        threshold: tau; the probability of the given label must be above it.
    """
    own = probs.gather(2, label.view(1, -1, 1).expand(len(probs), -1, 1)).squeeze(2)
    mask = base | (own > threshold)
    return Reliable(mask, torch.where(mask, label, debiased.argmax(dim=2)))


def agreed_samples(mask: Tensor, probs: Tensor, index: Tensor, threshold: float, most: float = 0.9) -> Tensor:
    """Find samples that all networks are sure of, while few are reliable; every rank must call it.

    Of each network as many are added as are missing to a fraction of the global batch, those with the highest mean confidence
    first; among equal ones the smaller index comes first.

    Args:
        mask: bool (M, B), samples that are reliable already.
        probs: (M, B, K), predictions.
        index: int64 (B,).
        threshold: tau; all networks must predict the same class with a probability above it.
        most: Fraction up to which samples are added.

    Returns:
        bool (M, B), the added ones.
    """
    confident, predicted = probs.max(dim=2)
    sure = (predicted == predicted[:1]).all(dim=0) & (confident > threshold).all(dim=0)
    place, indices, means, sures, masks = gather_with_places(index, confident.mean(dim=0), sure, mask.T)
    by_index = torch.argsort(indices, stable=True)
    ranked = by_index[torch.argsort(-means[by_index], stable=True)]
    added = torch.zeros_like(mask)
    for number in range(len(mask)):
        reliable = masks[:, number]
        # Rounded down, and not below 0.9 * 10 because of rounding.
        room = max(0, int(most * len(reliable) + 1e-9) - int(reliable.sum()))
        fitting = ranked[(sures & ~reliable)[ranked]][:room]
        added[number] = torch.zeros_like(reliable).index_fill_(0, fitting, True)[place]
    return added


class ProMixStep(Step):
    """Trains on reliable samples in many ways, and a further head on the others.

    Until ``warmup_epochs`` the criterion on weak views of all samples, with a penalty on confident predictions if wanted.
    Then a sample is reliable for a network if the selector keeps it or if the network gives its label a probability above
    ``threshold``. In the last ``agreement_epochs`` epochs samples are added on which all networks are sure of one class,
    with that class. The label of a sample that is not reliable is what the network predicts.

    On reliable samples each of two heads, the main and a further one, learns from weak and strong views, from mixtures of weak
    views and from weak views with regions of others; all but the first term rise over 50 epochs. On the others the further head
    learns sharpened predictions of the main head. Logits are adjusted by the average predictions for both kinds of samples
    against the bias that selection brings. All means are over the global batch.

    Regularizers use the weak views, with given labels of all samples.

    Args:
        seed: Of mixing weights, pairs and masks.
        warmup_epochs: Epochs of plain training.
        warmup_penalty: Factor of a penalty on confident predictions during the warm-up, for asymmetric noise.
        threshold: tau, in [0, 1]; with 1 the selector alone decides.
        adjust: Factor of the logarithm of average predictions that is added to logits in losses.
        debias: Factor of it that is subtracted from logits for labels.
        ramp_epochs: Epochs of the run over which all terms but the first rise.
        agreement_epochs: Last epochs of the run in which networks agree on further samples.
        strength_unreliable: Factor of the loss on unreliable samples at the end of its ramp.
        unreliable_epochs: Length of that ramp. Then the factor is 0, as in the authors' code, unless ``keep_unreliable``.
        keep_unreliable: Keep the factor after its ramp.
        temperature: Of the sharpened predictions.
        alpha: Weights of mixtures are drawn from Beta(alpha, alpha).
        regions: Whether weak views with regions of others are used, see ``low_frequency_mask``.
        views: A weak and a strong view of each sample; see ``Step.views``.

    Raises:
        ValueError: If an argument is outside its range, or at a step if the parts or the batch do not fit.

    Source: Xiao et al., IJCAI 2023; Justherozen/ProMix, Train_promix.py. Unlike there, a batch without reliable or unreliable
    samples leaves the corresponding means out.

    References:
        Xiao et al.: ProMix: Combating Label Noise via Maximizing Clean Sample Utility. IJCAI 2023.
        https://arxiv.org/abs/2207.10276
        Code: Justherozen/ProMix@40d8378
    """

    views: tuple[Any, ...]

    def __init__(
        self,
        seed: int,
        warmup_epochs: int = 10,
        warmup_penalty: float = 0.0,
        threshold: float = 0.99,
        adjust: float = 0.8,
        debias: float = 0.8,
        ramp_epochs: float = 50,
        agreement_epochs: int = 250,
        strength_unreliable: float = 0.1,
        unreliable_epochs: float = 100,
        keep_unreliable: bool = False,
        temperature: float = 0.5,
        alpha: float = 4.0,
        regions: bool = True,
        views: Sequence[Any] = ("weak", "strong"),
    ) -> None:
        for name, value in (("temperature", temperature), ("alpha", alpha)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        for name, value in (
            ("warmup_epochs", warmup_epochs),
            ("warmup_penalty", warmup_penalty),
            ("adjust", adjust),
            ("debias", debias),
            ("ramp_epochs", ramp_epochs),
            ("agreement_epochs", agreement_epochs),
            ("strength_unreliable", strength_unreliable),
            ("unreliable_epochs", unreliable_epochs),
        ):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        check_two_views(views)
        self.seed = seed
        self.warmup_epochs = warmup_epochs
        self.threshold = threshold
        self.adjust = adjust
        self.debias = debias
        self.ramp_epochs = ramp_epochs
        self.agreement_epochs = agreement_epochs
        self.strength_unreliable = strength_unreliable
        self.unreliable_epochs = unreliable_epochs
        self.keep_unreliable = keep_unreliable
        self.temperature = temperature
        self.alpha = alpha
        self.regions = regions
        self.views = tuple(views)
        self._penalties = {"confidence": ConfidencePenalty(warmup_penalty)} if warmup_penalty else None

    def extra_heads(self, feature_size: int, num_classes: int, norm: Norm) -> list[nn.Module]:
        """See ``Step``."""
        return [nn.Linear(feature_size, num_classes)]

    def __call__(self, method: Method, batch: Batch, progress: Progress) -> StepResult:
        """Take one step; see the class."""
        check_mixing(self, method, batch, "average_predictions", "alasca_pl.methods.promix.ClassSmallLosses")
        assert method.selector is not None
        targets = Targets.unmixed(batch.label, batch.index)
        outputs: list[NetworkOutput] = [network(batch.image) for network in method.networks]
        unmixed = unmixed_logits(method, outputs, batch)
        observe(method, unmixed, batch)
        weak_losses = base_losses(method, [[output] for output in outputs], targets, progress)
        losses = torch.stack(weak_losses)
        weight = torch.ones_like(losses.detach())
        batch_size = sum_ranks(weight.new_tensor(float(len(batch.label)))) / world_size()
        penalties = None
        terms: dict[str, Tensor] = {}
        if progress.epoch < self.warmup_epochs:
            base = losses.sum(dim=1) / batch_size + torch.stack([idle_heads(each) for each in method.networks])  # type: ignore[arg-type]
            penalties = self._penalties
        else:
            base, terms, weight = self._reliable(method, batch, outputs, losses.detach(), unmixed, progress)
        terms |= numbered("loss_base", base.detach())
        views = step_views(outputs, targets, weak_losses, weight, progress)
        total = penalise(method, base.sum(), terms, views, unmixed, batch.index, batch_size, penalties)
        terms |= numbered("selected", weight.sum(dim=1) / batch_size)
        return StepResult(total, terms, tuple(unmixed), weight, losses.detach())

    def _reliable(
        self,
        method: Method,
        batch: Batch,
        outputs: Sequence[NetworkOutput],
        losses: Tensor,
        unmixed: Sequence[Tensor],
        progress: Progress,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Each network's loss (M,), its terms, and 1 for reliable samples (M, B)."""
        assert method.selector is not None
        averages = cast(KeepsAverages, method.selector)
        networks: list[Network] = list(method.networks)  # type: ignore[arg-type]
        log_kept, log_others = (each.log() for each in averages.average_predictions())
        weak = [full_precision(output.logits) for output in outputs]
        strong = [network(batch.views[0]) for network in networks]
        probs = torch.stack([logits.detach().softmax(dim=1) for logits in weak])
        debiased = torch.stack(
            [(logits.detach() - self.debias * row).softmax(dim=1) for logits, row in zip(weak, log_kept.to(probs))]
        )
        base = method.selector(losses, unmixed, Targets.unmixed(batch.label, batch.index), progress) > 0
        mask, label = reliable_samples(base, probs, debiased, batch.label, self.threshold)
        if progress.epoch > progress.max_epochs - self.agreement_epochs:
            mask = mask | agreed_samples(mask, probs, batch.index, self.threshold)
        kept = mask.to(probs.dtype)
        counts = sum_ranks(torch.stack([kept.sum(dim=1), (1.0 - kept).sum(dim=1)])) / world_size()
        counts = torch.where(counts > 0, counts, torch.ones_like(counts))

        rise = linear_ramp(progress.epoch, self.ramp_epochs)
        on_others = self.strength_unreliable * linear_ramp(progress.epoch, self.unreliable_epochs)
        if progress.epoch >= self.unreliable_epochs and not self.keep_unreliable:
            on_others = 0.0
        rows = []
        for number, (network, output, other) in enumerate(zip(networks, outputs, strong)):
            own = log_kept[number].to(probs)
            targets = Targets.unmixed(label[number], batch.index)

            def cost(logits: Tensor, targets: Targets, number: int = number, own: Tensor = own) -> Tensor:
                adjusted = full_precision(logits) + self.adjust * own
                return method.criteria[number](adjusted, targets, progress)

            further_head = network.extra_heads[0]
            of_views = [(output.logits, other.logits), tuple(further_head(each.features) for each in (output, other))]
            of_heads = []
            for head, (first, second) in enumerate(of_views):
                term = cost(first, targets) + rise * cost(second, targets)
                of_head = (kept[number] * term).sum() / counts[0, number]
                for kind in range(1 + self.regions) if rise else ():
                    mixture = self._mixture(batch, mask[number], label[number], (number, head, kind), progress)
                    mixed = network(mixture.image)
                    logits = further_head(mixed.features) if head else mixed.logits
                    term = mixture.counted.to(probs.dtype) * cost(logits, mixture.targets)
                    of_head = of_head + rise * term.sum() / counts[0, number]
                of_heads.append(of_head)
            guess = sharpen(
                (weak[number].detach() - self.debias * log_others[number].to(probs)).softmax(dim=1), self.temperature
            )
            shift = self.adjust * log_others[number].to(probs)
            soft = [-(guess * (full_precision(logits) + shift).log_softmax(dim=1)).sum(dim=1) for logits in of_views[1]]
            of_others = ((1.0 - kept[number]) * (soft[0] + rise * soft[1])).sum() / counts[1, number]
            rows.append(torch.stack([*of_heads, of_others]))
        main, further, others = torch.stack(rows).unbind(dim=1)
        sums = torch.stack([(kept.unsqueeze(2) * probs).sum(dim=1), ((1.0 - kept).unsqueeze(2) * probs).sum(dim=1)])
        means = sum_ranks(sums) / world_size() / counts.unsqueeze(2)
        # After the losses, which use those before.
        averages.update_averages(means[0], means[1])
        named = {"loss_reliable": main, "loss_further_head": further, "loss_unreliable": others}
        terms = {key: value for name, each in named.items() for key, value in numbered(name, each.detach()).items()}
        return main + further + on_others * others, terms, kept

    def _mixture(
        self, batch: Batch, used: Tensor, label: Tensor, purpose: tuple[int, int, int], progress: Progress
    ) -> Mixture:
        place, everyone, everywhere, labels, indices = gather_with_places(batch.image, used, label, batch.index)
        own, order, mask = self.draw(progress.step, purpose, len(everywhere), batch.image.shape[2:])
        return mix_among(batch.image, everyone, used, everywhere, place, labels, indices, own, order, mask)

    def draw(
        self, step: int, purpose: tuple[int, int, int], rows: int, size: Sequence[int]
    ) -> tuple[float, Tensor, Tensor | None]:
        """Draw how to mix, a function of seed, step and purpose.

        Args:
            step: Optimiser steps so far.
            purpose: Number of the network, of the head, and 0 to blend or 1 for regions.
            rows: Size of the global batch.
            size: (H, W).

        Returns:
            The weight of a row's own label, an order of the rows, and the mask of the own image's region, or None to blend.
        """
        own, order = draw_pairs(self.seed, "promix", step, *purpose, alpha=self.alpha, rows=rows)
        if purpose[2] == 0:
            return own, order, None
        rng = np.random.default_rng(derive_seed(self.seed, "promix", step, *purpose))
        mask = low_frequency_mask(rng.beta(1.0, 1.0), size[0], size[1], rng)
        return float(mask.mean()), order, mask
