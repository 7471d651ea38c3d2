"""CRUST: train on a coreset of each class whose gradients represent those of the whole class."""

import heapq
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.core.parts import InputMixer, SampleSelector, not_begun
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import Batch, Progress, Targets

log = logging.getLogger(__name__)

Greedy = Literal["lazy", "top_rowsum"]


def gradient_coordinates(probs: Tensor, label: Tensor, head_weight: Tensor) -> Tensor:
    """Compute a short vector per sample; distances between these are distances between the samples' gradients.

    The gradient of the cross-entropy with respect to the features is ``W^T (p - onehot(y))``. It lies in the span of K
    rows, so K coordinates in an orthonormal basis preserve all distances.

    Args:
        probs: Float (n, K).
        label: int64 (n,).
        head_weight: W, float (K, D).

    Returns:
        float64 (n, K).
    """
    residual = probs.double()
    residual = residual - torch.nn.functional.one_hot(label, residual.shape[1])
    # W W^T = V diag(s) V^T, so r^T W W^T r is the squared length of sqrt(s) V^T r.
    values, vectors = torch.linalg.eigh(head_weight.double() @ head_weight.double().T)
    return residual @ (vectors * values.clamp(min=0.0).sqrt())


def lazy_greedy(similarity: np.ndarray, count: int) -> list[int]:
    """Choose representatives: greedy maximisation of ``F(A) = sum_i max_{j in A} S_ij``.

    Each step takes the candidate with the largest gain ``F(A + j) - F(A)``, the smallest position among equal ones.
    Gains only decrease while A grows, also in rounded arithmetic, so an old gain is an upper bound and most candidates
    need not be computed again.

    Args:
        similarity: S, symmetric and at least 0, float (n, n).
        count: Number to choose, at most n.

    Returns:
        Positions in the order in which they were chosen.
    """
    best = np.zeros(len(similarity), dtype=similarity.dtype)
    scratch = np.empty_like(best)

    def gain(position: int) -> float:
        np.subtract(similarity[position], best, out=scratch)
        np.maximum(scratch, 0.0, out=scratch)
        return float(scratch.sum())

    # Entries: negative gain, position, size of A when it was computed.
    heap = [(-gain(position), position, 0) for position in range(len(similarity))]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < count:
        _, position, seen = heap[0]
        if seen == len(chosen):
            heapq.heappop(heap)
            chosen.append(position)
            np.maximum(best, similarity[position], out=best)
        else:
            heapq.heapreplace(heap, (-gain(position), position, len(chosen)))
    return chosen


def top_row_sums(similarity: np.ndarray, count: int) -> list[int]:
    """Choose the positions with the largest row sums, the smaller one first among equal ones.

    This is what the code of snap-stanford/crust computes: it compares values of F instead of gains. Only for
    comparison.

    Args:
        similarity: Float (n, n).
        count: Number to choose, at most n.
    """
    return np.argsort(-similarity.sum(axis=1), kind="stable")[:count].tolist()


def coreset_weights(
    distance: np.ndarray, count: int, radius: float, greedy: Greedy = "lazy"
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a class's coreset, weight each member by the number of samples it represents, and score how central
    samples are.

    Args:
        distance: Symmetric, at least 0, float (n, n). It is overwritten.
        count: Size of the coreset, at most n.
        radius: A member represents all samples of the class, itself included, that are nearer than this.
        greedy: ``lazy``, see ``lazy_greedy``, or ``top_rowsum``, see ``top_row_sums``.

    Returns:
        Weights, float64 (n,): the number of samples for members, 0 for others. And ``F({j}) / (n max D)`` of each sample,
        float64 (n,) in [0, 1]: 1 minus its mean distance from the samples of its class, divided by the largest distance
        in the class.
    """
    near = (distance < radius).sum(axis=1)
    largest = distance.max(initial=0.0)
    # A class matrix takes 160 MB for 4,500 samples, so no copy is made.
    similarity = np.subtract(largest, distance, out=distance)
    central = similarity.mean(axis=1) / largest if largest > 0 else np.ones(len(distance))
    chosen = (lazy_greedy if greedy == "lazy" else top_row_sums)(similarity, count)
    weight = np.zeros(len(distance))
    weight[chosen] = near[chosen]
    return weight, central


class CrustSelector(SampleSelector):
    """Coresets for robust training.

    After a warm-up on all samples, medoids of the gradients are chosen for each class before each epoch. Only these are
    trained on, weighted by the number of samples around them.

    A mixed row has the weight of the first sample that it is mixed from: the second one is augmentation.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        num_networks: M, at least 1; each network has its own coreset.
        fraction: rho, fraction of each class that is chosen, in (0, 1], rounded down, but at least one sample.
        radius: Distance between gradients below which a medoid represents a sample, above 0.
        warmup_epochs: Epochs on all samples before the first choice.
        every: Epochs between choices.
        gradient_scale: ``sample``: gradients of each sample's own loss. ``batch``: divided by ``batch_size``, as in the
            authors' code; a radius of 2 then covers nearly the whole class. It changes only weights, not the choice.
        batch_size: Needed with ``gradient_scale="batch"``.
        greedy: ``lazy`` or, to compare with the authors' code, ``top_rowsum``; see ``coreset_weights``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Mirzasoleiman et al., NeurIPS 2020, Eq. 7 and Algorithm 1; constants of snap-stanford/crust. Unlike there,
    gains are compared, gradients are exact and of single samples without augmentation, and the training loader yields
    all samples: those outside the coreset have the weight 0.

    References:
        Mirzasoleiman, Cao and Leskovec: Coresets for Robust Training of Neural Networks against Noisy Labels. NeurIPS 2020.
        https://arxiv.org/abs/2011.07451
        Code: snap-stanford/crust@a430069

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = CrustSelector(num_samples=4, num_classes=2, fraction=0.5, radius=0.5, warmup_epochs=0)
        >>> probs = torch.tensor([[[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]])
        >>> label = torch.tensor([0, 0, 0, 0])
        >>> result = ScanResult(label, probs=probs, head_weight=torch.eye(2).unsqueeze(0))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> selector.receive_scan(result, now)
        >>> selector.table.rows.flatten()
        tensor([3., 0., 0., 1.])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int = 1,
        fraction: float = 0.5,
        radius: float = 2.0,
        warmup_epochs: int = 5,
        every: int = 1,
        gradient_scale: Literal["sample", "batch"] = "sample",
        batch_size: int | None = None,
        greedy: Greedy = "lazy",
    ) -> None:
        super().__init__()
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction must lie in (0, 1], got {fraction}; 1 keeps all samples")
        if not radius > 0.0:
            raise ValueError(f"radius must be above 0, got {radius}; a very small one gives all medoids the weight 1")
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        check_whole_number("every", every, 1)
        if gradient_scale not in ("sample", "batch"):
            raise ValueError(f"unknown gradient_scale {gradient_scale!r}; choose one of sample, batch")
        if gradient_scale == "batch" and not (batch_size is not None and batch_size >= 1):
            raise ValueError(
                f"gradient_scale='batch' divides by the batch size, got batch_size={batch_size}; give "
                "selector.batch_size=${data.batch_size} or choose gradient_scale=sample"
            )
        if greedy not in ("lazy", "top_rowsum"):
            raise ValueError(f"unknown greedy {greedy!r}; choose one of lazy, top_rowsum")
        self.num_classes = num_classes
        self.fraction = fraction
        self.radius = radius
        self.warmup_epochs = warmup_epochs
        self.every = every
        self.scale = 1.0 if gradient_scale == "sample" or batch_size is None else 1.0 / batch_size
        self.greedy: Greedy = greedy
        # The latest weights and how central each sample is in its class, one column per network.
        self.table = SampleBuffer(num_samples, num_networks, momentum=0.0, initial=1.0)
        self.central = SampleBuffer(num_samples, num_networks, momentum=0.0, initial=1.0)

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        since = progress.epoch - self.warmup_epochs
        return ScanRequest(probs=True) if since >= 0 and since % self.every == 0 else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.probs is not None and result.head_weight is not None
        # Checked on all ranks, because after an error on rank 0 only the others would wait forever.
        if not (torch.isfinite(result.probs).all() and torch.isfinite(result.head_weight).all()):
            raise ValueError(f"predictions before epoch {progress.epoch + 1} are not finite; has the run diverged?")
        both = torch.cat([self.table.rows, self.central.rows], dim=1)
        weight, central = from_rank_zero(lambda: self._rows(result), both).chunk(2, dim=1)
        self.table.fill(weight)
        self.central.fill(central)
        if rank() == 0:
            for number, column in enumerate(self.table.rows.cpu().unbind(dim=1)):
                log.info("network %d: coreset of %d of %d samples", number, int((column > 0).sum()), len(column))

    def _rows(self, result: ScanResult) -> Tensor:
        """Weights in the coresets of all networks and classes, and how central samples are, (N, 2 M)."""
        assert result.probs is not None and result.head_weight is not None
        networks = len(result.probs)
        rows = torch.zeros(len(result.label), 2 * networks, dtype=torch.float64)
        for number, (probs, head_weight) in enumerate(zip(result.probs, result.head_weight)):
            coordinates = self.scale * gradient_coordinates(probs, result.label, head_weight)
            for one in range(self.num_classes):
                members = torch.nonzero(result.label == one).squeeze(1)
                if len(members) == 0:
                    continue
                points = coordinates[members]
                # Sums of squared differences: the faster form with matrix products loses small distances to rounding.
                distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
                count = max(1, int(self.fraction * len(members) + 1e-9))
                weight, central = coreset_weights(distance.numpy(), count, self.radius, self.greedy)
                rows[members, number] = torch.from_numpy(weight)
                rows[members, networks + number] = torch.from_numpy(central)
        return rows

    def confidence(self, label: Tensor) -> Tensor | None:
        # Not the weights: a clean sample that another one represents has the weight 0, and an outlier may have a small
        # one.
        rows = self.central.rows.T
        # Before the first choice all values are equal, so there is no score.
        return None if bool((rows == 1.0).all()) else rows

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return self.table.rows[targets.index[0]].T.to(losses)


class IntraClassMixer(InputMixer):
    """Mixes each image with another of the same given label; the label is not changed.

    One factor per batch, drawn from Beta(alpha, beta): x becomes ``l x + (1 - l) x'``. It is a function of the seed and
    the step, so that it is the same on all ranks and in a resumed run.

    Args:
        seed: Of the draws.
        start_epoch: First epoch, from 0, that mixes.
        alpha: Above 0.
        beta: Above 0. The authors' Beta(1, 0.1) has the mean 0.91.

    Raises:
        ValueError: If a value is outside its range.

    Source: Mirzasoleiman et al., NeurIPS 2020, section 4; constants of snap-stanford/crust.

    References:
        Mirzasoleiman, Cao and Leskovec: Coresets for Robust Training of Neural Networks against Noisy Labels. NeurIPS 2020.
        https://arxiv.org/abs/2011.07451
        Code: snap-stanford/crust@a430069

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Batch, Progress
        >>> batch = Batch(
        ...     torch.zeros(2, 1, 4, 4), torch.tensor([1, 0]), torch.tensor([5, 6]),
        ...     partner=torch.tensor([8, 9]), partner_image=torch.ones(2, 1, 4, 4),
        ... )
        >>> now = Progress(epoch=6, step=60, max_epochs=10, steps_per_epoch=10)
        >>> image, targets = IntraClassMixer(seed=0)(batch, now)
        >>> targets.label.tolist(), targets.index.tolist()
        ([[1, 0], [1, 0]], [[5, 6], [8, 9]])
    """

    partners = "same_label"

    def __init__(self, seed: int = 0, start_epoch: int = 6, alpha: float = 1.0, beta: float = 0.1) -> None:
        super().__init__()
        check_whole_number("start_epoch", start_epoch, 0)
        if not (alpha > 0.0 and beta > 0.0):
            raise ValueError(f"alpha and beta must be above 0, got {alpha} and {beta}; the authors use 1 and 0.1")
        self.seed = seed
        self.start_epoch = start_epoch
        self.alpha = alpha
        self.beta = beta

    def own_fraction(self, step: int) -> float:
        """Return the weight of the sample itself in all mixes of a step, in [0, 1]."""
        rng = np.random.default_rng(derive_seed(self.seed, "within-class", step))
        return float(rng.beta(self.alpha, self.beta))

    def inactive_because(self, last: Progress) -> str | None:
        return not_begun(self.start_epoch, last)

    def forward(self, batch: Batch, progress: Progress) -> tuple[Tensor, Targets]:
        if progress.epoch < self.start_epoch:
            return batch.image, Targets.unmixed(batch.label, batch.index)
        if batch.partner is None or batch.partner_image is None:
            raise ValueError(
                "within-class mixing got a batch with partner=None; it needs a loader that yields with each sample another "
                "one of the same label, or mixer=null"
            )
        own = self.own_fraction(progress.step)
        image = own * batch.image + (1.0 - own) * batch.partner_image
        weight = torch.tensor([[own], [1.0 - own]], device=batch.label.device).expand(2, len(batch.label))
        return image, Targets(batch.label.expand(2, -1), torch.stack([batch.index, batch.partner]), weight)
