"""Estimates of the transition matrix from what a network that was trained on noisy labels predicts."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Matrix = npt.NDArray[np.float64]
# Of UCSC-REAL/SimiFeat.
_MOST_SAMPLES = 15_000
_STEPS = 400
_LEAST = 1e-12
# Number of rows whose similarities are computed at once.
_CHUNK = 2048


def anchor_matrix(probs: np.ndarray, percentile: float | None = 97.0) -> Matrix:
    """Take the predictions for the sample of each class that is most surely of it.

    Args:
        probs: Class probabilities of the training samples, float (N, K).
        percentile: For each class only samples compete whose probability lies below this percentile of all samples, against
            outliers; None lets all compete.

    Returns:
        P(given label j | true class i), (K, K); rows sum to 1.

    References:
        Patrini et al.: Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach. CVPR 2017.
        https://arxiv.org/abs/1609.03683
        Code: giorgiop/loss-correction@15a79de

    Example:
        >>> import numpy as np
        >>> anchor_matrix(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), percentile=None).tolist()
        [[0.8, 0.2], [0.3, 0.7]]
    """
    rows = np.empty((probs.shape[1],) * 2)
    for number, column in enumerate(np.asarray(probs, dtype=np.float64).T):
        competing = column
        if percentile is not None:
            below = column < np.percentile(column, percentile, method="higher")
            # If all samples are equal none lies below.
            competing = np.where(below, column, -1.0) if below.any() else column
        rows[number] = probs[competing.argmax()]
    return rows / rows.sum(axis=1, keepdims=True)


def dual_t_matrix(probs: np.ndarray, label: np.ndarray, percentile: float | None = 97.0) -> Matrix:
    """Multiply the transition to the network's own predictions, from anchors, by that from these to given labels, counted.

    Args:
        probs: See ``anchor_matrix``.
        label: Given labels, int64 (N,).
        percentile: See ``anchor_matrix``.

    Returns:
        P(given label j | true class i), (K, K); rows sum to 1. A class that is never predicted is taken to keep its labels.

    References:
        Yao et al.: Dual T: Reducing Estimation Error for Transition Matrix in Label-noise Learning. NeurIPS 2020.
        https://arxiv.org/abs/2006.07805
        Code: a5507203/dual-t-reducing-estimation-error-for-transition-matrix-in-label-noise-learning@af9a491

    Example:
        >>> import numpy as np
        >>> probs = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
        >>> dual_t_matrix(probs, np.array([0, 1, 1]), percentile=None).round(2).tolist()
        [[0.4, 0.6], [0.15, 0.85]]
    """
    classes = probs.shape[1]
    counts = np.zeros((classes, classes))
    np.add.at(counts, (probs.argmax(axis=1), label), 1.0)
    total = counts.sum(axis=1, keepdims=True)
    to_label = np.where(total > 0, counts / np.maximum(total, 1.0), np.eye(classes))
    return anchor_matrix(probs, percentile) @ to_label


def rate_of_matrix(matrix: Matrix, label: np.ndarray) -> float:
    """Noise rate under a matrix, with the frequencies of true classes under which the given labels are the most likely.

    Args:
        matrix: P(given label j | true class i), (K, K); rows sum to 1.
        label: Given labels, int64 (N,).

    Returns:
        A rate in [0, 1].

    Example:
        >>> import numpy as np
        >>> round(rate_of_matrix(np.array([[0.6, 0.4], [0.0, 1.0]]), np.array([0] * 3 + [1] * 7)), 3)
        0.2
    """
    frequency = np.bincount(label, minlength=len(matrix)) / len(label)
    prior = np.full(len(matrix), 1.0 / len(matrix))
    # Expectation maximisation, because the solution of the linear equations may be negative.
    for _ in range(_STEPS):
        prior = prior * (matrix @ (frequency / np.maximum(prior @ matrix, _LEAST)))
    return float(1.0 - prior @ matrix.diagonal())


class Consensus(NamedTuple):
    """What ``consensus_matrix`` finds."""

    matrix: Matrix
    """P(given label j | true class i), (K, K); rows sum to 1."""
    prior: npt.NDArray[np.float64]
    """Frequencies of the true classes, (K,)."""

    @property
    def noise_rate(self) -> float:
        """Fraction of wrong labels."""
        return float(1.0 - self.prior @ self.matrix.diagonal())


def consensus_matrix(features: np.ndarray, label: np.ndarray, num_classes: int, seed: int = 0) -> Consensus:
    """Find the matrix under which the labels of samples and their two nearest neighbours agree as often as they do.

    It is assumed that a sample and its neighbours are of one true class and that their labels are wrong independently. Where
    features do not separate classes, neighbours of other classes count as wrong labels, so that the estimate is too noisy.

    Args:
        features: Float (N, D); compared by their angle. Of more than 15,000 samples random ones are used.
        label: Given labels, int64 (N,).
        num_classes: K.
        seed: Of the choice of samples.

    Raises:
        ValueError: If there are fewer than three samples.

    References:
        Zhu, Song and Liu: Clusterability as an Alternative to Anchor Points When Learning with Noisy Labels. ICML 2021.
        https://arxiv.org/abs/2102.05291
        Code: UCSC-REAL/SimiFeat@534af48

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> true = np.repeat([0, 1], 500)
        >>> label = np.where(rng.random(1000) < 0.2, 1 - true, true)
        >>> features = np.eye(2)[true] + 0.1 * rng.random((1000, 2))
        >>> 0.15 < consensus_matrix(features, label, 2).noise_rate < 0.25
        True
    """
    if len(label) < 3:
        raise ValueError(f"agreement of neighbours needs at least three samples, got {len(label)}")
    if len(label) > _MOST_SAMPLES:
        chosen = np.random.default_rng(seed).choice(len(label), _MOST_SAMPLES, replace=False)
        features, label = features[chosen], label[chosen]
    points = torch.nn.functional.normalize(torch.from_numpy(features).float(), dim=1)
    nearest = []
    for start in range(0, len(points), _CHUNK):
        similarity = points[start : start + _CHUNK] @ points.T
        own = torch.arange(len(similarity))
        similarity[own, start + own] = -torch.inf
        nearest.append(similarity.topk(2, dim=1).indices)
    given = torch.from_numpy(label)
    first, second = given[torch.cat(nearest)].unbind(dim=1)
    return fit_consensus(count_triples(given, first, second, num_classes))


def count_triples(label: Tensor, first: Tensor, second: Tensor, num_classes: int) -> Tensor:
    """Frequencies of the labels of a sample, its nearest and its second nearest neighbour, float64 (K, K, K)."""
    place = (label * num_classes + first) * num_classes + second
    counts = torch.bincount(place, minlength=num_classes**3).double()
    return (counts / counts.sum()).reshape((num_classes,) * 3)


def fit_consensus(triples: Tensor) -> Consensus:
    """Find the matrix and the frequencies of true classes that explain frequencies of triples, and of their parts.

    Args:
        triples: See ``count_triples``.
    """
    classes = len(triples)
    pairs, singles = triples.sum(dim=2), triples.sum(dim=(1, 2))
    free = (5.0 * torch.eye(classes, dtype=torch.float64) - 1.0).requires_grad_()
    prior = torch.full((classes,), 1.0 / classes, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([free, prior], lr=0.1)
    best, found = float("inf"), (free.detach(), prior.detach())
    with torch.enable_grad():
        for step in range(_STEPS):
            matrix, true = free.softmax(dim=1), prior.softmax(dim=0)
            weighted = true.unsqueeze(1) * matrix
            two = torch.einsum("ia,ib->iab", weighted, matrix)
            parts = (
                weighted.sum(dim=0) - singles,
                two.sum(dim=0) - pairs,
                (two.flatten(1).T @ matrix).view_as(triples) - triples,
            )
            loss = torch.stack([part.norm() for part in parts]).sum()
            if step > 5 and loss.item() < best:
                best, found = loss.item(), (matrix.detach().clone(), true.detach().clone())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Consensus(found[0].numpy(), found[1].numpy())
