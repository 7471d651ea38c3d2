"""FINE: keep the samples whose features align with the main direction of their class, and drop the others."""

import logging
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.core.parts import RefreshedSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.mixture import two_component_posterior

log = logging.getLogger(__name__)


def class_eigenvectors(features: Tensor, label: Tensor, reference: Tensor, num_classes: int) -> Tensor:
    """Find the main direction of each class: the leading eigenvector of the sum of ``z z^T``.

    Features are neither centred nor scaled. All is computed in float64: a decomposition loses half of the digits of a
    Gram matrix, and the matrix products are cheap compared with the scan that computed the features.

    Args:
        features: Float (N, D).
        label: int64 (N,).
        reference: Which samples are summed, bool (N,). A class with fewer than two of them has no main direction, so
            all its samples are summed instead.
        num_classes: K.

    Returns:
        float64 (K, D), rows of length 1 with an arbitrary sign; zeros for a class without samples, or with fewer than D that are
        all zero.
    """
    vectors = torch.zeros(num_classes, features.shape[1], dtype=torch.float64, device=features.device)
    for number in range(num_classes):
        members = label == number
        chosen = members & reference
        rows = features[chosen if int(chosen.sum()) >= 2 else members].double()
        if len(rows) >= rows.shape[1]:
            vectors[number] = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -1]
        elif len(rows):
            # Z^T u is an eigenvector of Z^T Z if u is one of Z Z^T, the smaller of both where samples are few.
            direction = rows.T @ torch.linalg.eigh(rows @ rows.T).eigenvectors[:, -1]
            vectors[number] = F.normalize(direction, dim=0, eps=1e-300)
    return vectors


def alignment_scores(features: Tensor, label: Tensor, vectors: Tensor) -> Tensor:
    """Measure how well each sample's features align with the direction of its class.

    Args:
        features: Float (N, D).
        label: int64 (N,).
        vectors: (K, D), see ``class_eigenvectors``.

    Returns:
        ``|<u, z / ||z||>|``, float64 (N,) in [0, 1]; 0 for features that are all zero. The authors' code uses the
        absolute value and the paper its square, which keeps the order and changes the mixture.
    """
    scores = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for number in range(len(vectors)):
        members = label == number
        rows = features[members].double()
        scores[members] = (F.normalize(rows, dim=1, eps=1e-300) @ vectors[number].double()).abs()
    return scores.clamp(max=1.0)


def clean_posterior(scores: Tensor, label: Tensor, num_classes: int, seed: int) -> Tensor:
    """Per class, fit a mixture of two Gaussians to the scores; see ``two_component_posterior``.

    Args:
        scores: Finite, float (N,).
        label: int64 (N,).
        num_classes: K.
        seed: Of the mixtures' starts.

    Returns:
        Posterior of the component with the higher mean, float64 (N,). 1 for all samples of a class that has fewer than
        two different scores.
    """
    posterior = torch.ones(len(scores), dtype=torch.float64)
    for number in range(num_classes):
        members = (label == number).cpu()
        values = scores.cpu()[members].numpy()
        posterior[members] = torch.from_numpy(
            two_component_posterior(values, "high", max_iter=100, tol=1e-6, seed=derive_seed(seed, "class", number))
        )
    return posterior


class FineSelector(RefreshedSelector):
    """Filtering noisy instances via their eigenvectors.

    After a warm-up on all samples, the training set is scanned every few epochs, and a sample is kept if
    the posterior that it aligns with its class is at least ``threshold``. Between scans the selection does not change.

    With ``exchange`` each network m trains on the selection of its peer m + 1: F-Coteaching.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        num_networks: M; at least 2 with ``exchange``.
        warmup_epochs: Epochs on all samples before the first scan.
        every: Epochs between scans.
        phase: Scans are made before the epochs E, counted from 1, with ``E > warmup_epochs`` and ``E % every == phase``.
        threshold: zeta, in [0, 1]; 0 keeps all samples.
        reference: Which samples give the direction of a class under a network: ``selected``, those that this network was
            trained on since the last scan, which with ``exchange`` its peer selected; or ``all``.
        exchange: Whether each network trains on the selection of its peer, see above.
        seed: Of the mixtures' starts.

    Raises:
        ValueError: If a value is outside its range.

    Source: Kim et al., NeurIPS 2021, Algorithm 1; schedule, score and mixture as in Kthyeon/FINE_official. Unlike
    there, features are of images without augmentation, labels are not changed, and the training loader yields all
    samples: those that are not selected have the weight 0, so that an epoch keeps its number of steps.

    References:
        Kim et al.: FINE Samples for Learning with Noisy Labels. NeurIPS 2021. https://arxiv.org/abs/2102.11628
        Code: Kthyeon/FINE_official@d5ab341

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = FineSelector(num_samples=5, num_classes=1, num_networks=1, warmup_epochs=0, every=1, phase=0)
        >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]]])
        >>> result = ScanResult(label=torch.zeros(5, dtype=torch.int64), features=features)
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> selector.receive_scan(result, now)
        >>> selector.selected
        tensor([[ True,  True,  True, False, False]])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int,
        warmup_epochs: int = 40,
        every: int = 10,
        phase: int = 1,
        threshold: float = 0.5,
        reference: Literal["selected", "all"] = "selected",
        exchange: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}; 0 keeps all samples")
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        check_whole_number("every", every, 1)
        if not isinstance(phase, int):
            raise ValueError(f"phase must be a whole number of epochs, got {phase}; it counts modulo every={every}")
        if reference not in ("selected", "all"):
            raise ValueError(f"unknown reference {reference!r}; choose one of selected, all")
        if exchange and num_networks < 2:
            raise ValueError(
                f"networks that exchange selections must be at least two, got num_networks={num_networks}; "
                "set num_networks=2 or selector.exchange=false"
            )
        self.num_classes = num_classes
        self.warmup_epochs = warmup_epochs
        self.every = every
        self.phase = phase
        self.threshold = threshold
        self.reference = reference
        self.exchange = exchange
        self.seed = seed
        # The latest posteriors, one column per network; the selection follows from them.
        self.posterior = SampleBuffer(num_samples, num_networks, momentum=0.0, initial=1.0)

    @property
    def selected(self) -> Tensor:
        """What each network selected, bool (M, N); with ``exchange`` its peer trains on it."""
        return self.posterior.rows.t() >= self.threshold

    @property
    def trained_on(self) -> Tensor:
        """What each network trains on, bool (M, N): its own selection, or with ``exchange`` that of its peer m + 1."""
        return self.selected.roll(-1, dims=0) if self.exchange else self.selected

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        # The schedule counts epochs from 1, as in its source.
        epoch = progress.epoch + 1
        due = epoch > self.warmup_epochs and (epoch - self.phase) % self.every == 0
        return ScanRequest(features=True) if due else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.features is not None
        # Checked on all ranks, because after an error on rank 0 only the others would wait forever.
        if not torch.isfinite(result.features).all():
            raise ValueError(f"features before epoch {progress.epoch + 1} are not finite; has the run diverged?")
        rows = from_rank_zero(lambda: self._posterior_rows(result, progress), self.posterior.rows)
        self.posterior.fill(rows)
        self.is_refreshed = True
        if rank() == 0:
            self._report(result.label)

    def _posterior_rows(self, result: ScanResult, progress: Progress) -> Tensor:
        """Compute the posterior of every network and sample, (N, M)."""
        assert result.features is not None
        columns = []
        for number, features in enumerate(result.features):
            reference = torch.ones(len(result.label), dtype=torch.bool)
            if self.reference == "selected":
                reference = self.trained_on[number].cpu()
            vectors = class_eigenvectors(features, result.label, reference, self.num_classes)
            scores = alignment_scores(features, result.label, vectors)
            seed = derive_seed(self.seed, "fine", number, progress.epoch)
            columns.append(clean_posterior(scores, result.label, self.num_classes, seed))
        return torch.stack(columns, dim=1)

    def _report(self, label: Tensor) -> None:
        for number, selected in enumerate(self.selected.cpu()):
            kept = torch.bincount(label[selected], minlength=self.num_classes)
            empty = torch.nonzero((kept == 0) & (torch.bincount(label, minlength=self.num_classes) > 0)).flatten()
            log.info("network %d: selected %d of %d samples", number, int(kept.sum()), len(label))
            if len(empty):
                log.warning(
                    "network %d: no sample is selected of class %s; is threshold=%s too high?",
                    number,
                    ", ".join(map(str, empty.tolist())),
                    self.threshold,
                )

    def confidence(self, label: Tensor) -> Tensor | None:
        return self.posterior.rows.T if self.is_refreshed else None

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        selected = self.posterior.read(targets) >= self.threshold
        weight = (targets.weight.unsqueeze(-1) * selected).sum(dim=0).T.to(losses)
        # Row m becomes the selection of network m + 1.
        return weight.roll(-1, dims=0) if self.exchange else weight
