"""Nearest neighbours on features: keep the samples whose label their neighbours share."""

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.core.parts import RefreshedSelector
from alasca_pl.core.progress import tracked
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.mixture import two_component_posterior
from alasca_pl.methods.transition import consensus_matrix

log = logging.getLogger(__name__)
_EPS = 1e-8
# Rows of the table of similarities that are computed at once.
_CHUNK = 2048


def neighbour_votes(features: Tensor, label: Tensor, num_classes: int, count: int, self_vote: bool = False) -> Tensor:
    """Add up the cosine similarities of each sample's nearest neighbours by their labels.

    Args:
        features: Float (N, D), not centred; only their direction counts.
        label: int64 (N,).
        num_classes: K.
        count: k, number of neighbours; at most all other samples are used.
        self_vote: Whether a sample is one of its k neighbours, with a similarity continued linearly from those of the next
            two; this needs at least three samples.

    Returns:
        float32 (N, K), at least 0. Negative similarities count as 0.

    Example:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> neighbour_votes(features, label=torch.tensor([0, 1, 1, 1]), num_classes=2, count=1)
        tensor([[0., 1.],
                [1., 0.],
                [0., 1.],
                [0., 1.]])
    """
    unit = F.normalize(features.float(), dim=1)
    others = min(count - 1 if self_vote else count, len(unit) - 1)
    # Two are needed to continue the line.
    looked = min(max(others, 2), len(unit) - 1) if self_vote else others
    votes = torch.zeros(len(unit), num_classes)
    for start in tracked(range(0, len(unit), _CHUNK), "looking for neighbours"):
        rows = torch.arange(start, min(start + _CHUNK, len(unit)))
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        near, which = similarity.topk(looked, dim=1)
        votes[rows] = votes[rows].scatter_add_(1, label[which[:, :others]], near[:, :others].clamp_min(0.0))
        if self_vote:
            own = 1.0 - (2.0 * (1.0 - near[:, 0]) - (1.0 - near[:, 1]))
            votes[rows] = votes[rows].scatter_add_(1, label[rows].unsqueeze(1), own.clamp_min(0.0).unsqueeze(1))
    return votes


def suspicion(votes: Tensor, label: Tensor) -> Tensor:
    """Score each label by ``-log`` of its vote, of votes scaled to the length 1; 18.4 at most.

    Args:
        votes: (N, K), see ``neighbour_votes``.
        label: int64 (N,).

    Returns:
        Float (N,), large where the label is suspicious.
    """
    return -(F.normalize(votes, dim=1).gather(1, label.unsqueeze(1)).squeeze(1) + _EPS).log()


def agreement_of(votes: Tensor, label: Tensor) -> Tensor:
    """Return the fraction of the votes that a sample's own label has, (N,) in [0, 1]; 0 without votes."""
    own = votes.gather(1, label.unsqueeze(1)).squeeze(1)
    return own / votes.sum(dim=1).clamp_min(_EPS)


def suspicious_by_rank(scores: Tensor, label: Tensor, precision: Tensor) -> Tensor:
    """Mark in each class as many of the highest scores as labels of the class are wrong.

    Args:
        scores: See ``suspicion``, (N,).
        label: Given labels, int64 (N,).
        precision: For each class the probability that its given label is the true one, (K,). A fraction of wrong labels of 1 or
            more counts as 0.95, of 0 or less as 0.05, as in UCSC-REAL/SimiFeat.

    Returns:
        bool (N,): scores that are at least the quantile of the rest.

    Example:
        >>> import torch
        >>> scores, label = torch.tensor([0.1, 0.2, 0.3, 0.4, 5.0]), torch.tensor([0, 0, 0, 0, 1])
        >>> suspicious_by_rank(scores, label, precision=torch.tensor([0.6, 0.5]))
        tensor([False, False,  True,  True,  True])
    """
    marked = torch.zeros(len(label), dtype=torch.bool)
    for number, right in enumerate(precision.tolist()):
        wrong = 1.0 - right
        wrong = 0.95 if wrong >= 1.0 else 0.05 if wrong <= 0.0 else wrong
        members = label == number
        if bool(members.any()):
            marked[members] = scores[members] >= torch.quantile(scores[members].double(), 1.0 - wrong).float()
    return marked


class NeighbourSelector(RefreshedSelector):
    """Keeps the samples whose given label most of their nearest neighbours share.

    After a warm-up on all samples, the training set is scanned every few epochs, and neighbours are sought among the features
    of each network, those before its main head. Between scans the selection does not change. With an encoder the training set is
    scanned once, and all networks have the same selection.

    Args:
        num_samples: N.
        num_classes: K.
        num_networks: M.
        warmup_epochs: Epochs on all samples before the first scan.
        every: Epochs between scans.
        count: k, number of neighbours.
        self_vote: Whether a sample votes for its own label, as in UCSC-REAL/SimiFeat; see ``neighbour_votes``.
        rule: ``vote`` keeps labels that no other label outvotes; ``rank`` drops in each class the most suspicious labels, as
            many as ``consensus_matrix`` finds to be wrong there; ``mixture`` fits two Gaussians to the fractions of votes that
            labels have and keeps those that rather belong to the one with the higher mean.
        encoder: Another network that gives the features, see ``ScanRequest.encoder``; None takes the run's own.
        seed: Of the mixtures' starts.

    Raises:
        ValueError: If a value is outside its range.

    Source: Zhu, Dong and Liu, ICML 2022, section 3; UCSC-REAL/SimiFeat. There features are those of a network that was trained
    on other data, and of 21 differently augmented images of each sample; ties go to the smaller class, here to the given one.

    References:
        Zhu, Dong and Liu: Detecting Corrupted Labels Without Training a Model to Predict. ICML 2022.
        https://arxiv.org/abs/2110.06283
        Code: UCSC-REAL/SimiFeat@534af48

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = NeighbourSelector(num_samples=4, num_classes=2, num_networks=1, warmup_epochs=0, every=1, count=3)
        >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3]]])
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> selector.receive_scan(ScanResult(label=torch.tensor([0, 0, 1, 0]), features=features), now)
        >>> selector.kept.rows.T
        tensor([[1., 1., 0., 1.]])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int,
        warmup_epochs: int = 10,
        every: int = 5,
        count: int = 10,
        self_vote: bool = False,
        rule: Literal["vote", "rank", "mixture"] = "vote",
        encoder: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole_number("warmup_epochs", warmup_epochs, 0)
        check_whole_number("every", every, 1)
        least = 2 if self_vote else 1
        check_whole_number("count", count, least, hint="the authors take 10")
        if rule not in ("vote", "rank", "mixture"):
            raise ValueError(f"unknown rule {rule!r}; choose one of vote, rank, mixture")
        self.num_classes = num_classes
        self.warmup_epochs = warmup_epochs
        self.every = every
        self.count = count
        self.self_vote = self_vote
        self.rule = rule
        self.seed = seed
        # Not a submodule: it is neither trained nor part of the checkpoint.
        self._encoder = [encoder]
        # One column per network: whether a sample is kept, and the fraction of votes for its label.
        self.kept = SampleBuffer(num_samples, num_networks, 0.0, initial=1.0)
        self.agreement = SampleBuffer(num_samples, num_networks, 0.0, initial=1.0)

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        since = progress.epoch - self.warmup_epochs
        if self._encoder[0] is not None:
            return ScanRequest(encoder=self._encoder[0]) if since == 0 else None
        return ScanRequest(features=True) if since >= 0 and since % self.every == 0 else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        features = result.features if result.encoded is None else result.encoded.unsqueeze(0)
        assert features is not None
        # Checked on all ranks, because after an error on rank 0 only the others would wait forever.
        if not torch.isfinite(features).all():
            raise ValueError(f"features before epoch {progress.epoch + 1} are not finite; has the run diverged?")
        count = self.kept.rows.shape[1]
        like = torch.cat([self.kept.rows, self.agreement.rows], dim=1)
        rows = from_rank_zero(lambda: self._rows(features, result.label, progress), like)
        self.kept.fill(rows[:, :count])
        self.agreement.fill(rows[:, count:])
        self.is_refreshed = True
        if rank() == 0:
            for number, kept in enumerate(self.kept.rows.T):
                log.info("network %d: selected %d of %d samples", number, int(kept.sum()), len(kept))

    def _rows(self, features: Tensor, label: Tensor, progress: Progress) -> Tensor:
        """Whether each network keeps each sample, then the fractions of votes, (N, 2M)."""
        kept, fractions = [], []
        for number, each in enumerate(features):
            votes = neighbour_votes(each, label, self.num_classes, self.count, self.self_vote)
            fraction = agreement_of(votes, label)
            if self.rule == "vote":
                own = votes.gather(1, label.unsqueeze(1)).squeeze(1)
                kept.append((own >= votes.max(dim=1).values).float())
            elif self.rule == "rank":
                kept.append((~suspicious_by_rank(suspicion(votes, label), label, self._precision(each, label))).float())
            else:
                seed = derive_seed(self.seed, "neighbours", number, progress.epoch)
                posterior = two_component_posterior(fraction.numpy(), "high", reg_covar=1e-4, seed=seed)
                kept.append(torch.from_numpy(posterior > 0.5).float())
            fractions.append(fraction)
        times = self.kept.rows.shape[1] // len(features)
        return torch.stack([*kept * times, *fractions * times], dim=1)

    def _precision(self, features: Tensor, label: Tensor) -> Tensor:
        """For each class the probability that its given label is the true one, (K,)."""
        found = consensus_matrix(features.numpy(), label.numpy(), self.num_classes, self.seed)
        frequency = torch.bincount(label, minlength=self.num_classes) / len(label)
        right = torch.as_tensor(found.prior * np.diag(found.matrix)).float()
        return right / frequency.clamp_min(_EPS)

    def confidence(self, label: Tensor) -> Tensor | None:
        return self.agreement.rows.T if self.is_refreshed else None

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return (targets.weight.unsqueeze(-1) * self.kept.read(targets)).sum(dim=0).T.to(losses)
