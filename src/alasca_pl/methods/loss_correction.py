"""Losses corrected by the transition matrix from true classes to given labels."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.core.errors import UserError
from alasca_pl.core.numerics import full_precision, label_log_prob
from alasca_pl.core.parts import Criterion, ScanningPart
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.transition import anchor_matrix, consensus_matrix, dual_t_matrix

log = logging.getLogger(__name__)

# Smallest entry of a matrix in a logarithm.
_LEAST = 1e-12
# Of the smallest probability in backward correction, as in giorgiop/loss-correction: it bounds rewards for ruling out classes.
_LOG_LEAST_PROB = math.log(1e-7)
_LARGEST_CONDITION = 1e3


class LossCorrection(ScanningPart, Criterion):
    """Cross-entropy corrected by a matrix ``T`` of P(given label j | true class i), which is given or estimated.

    The network's prediction p then estimates the true class: with ``n = T^T p``,

    * ``forward``: ``-log n_y``, the prediction is carried to the given labels;
    * ``backward``: ``(T^-1 c)_y`` with ``c_k = -log p_k``, unbiased, may be negative; probabilities below 1e-7 count as this
      value;
    * ``reweight``: cross-entropy times ``p_y / n_y``, which has no gradient.

    Until the matrix is estimated the loss is cross-entropy.

    Args:
        num_classes: K.
        correction: See above.
        matrix: K rows of K probabilities, or ``estimated``: from one scan of the training set before ``estimate_epoch``.
        estimator: ``anchor``, ``dual_t`` or ``consensus``, see ``anchor_matrix``, ``dual_t_matrix`` and ``consensus_matrix``.
        percentile: See ``anchor_matrix``.
        estimate_epoch: Epoch, from 0, before which the matrix is estimated. Once wrong labels are memorised, estimates are close
            to the identity.

    Raises:
        ValueError: If a value is outside its range.
        UserError: When an estimated matrix is too ill-conditioned to be inverted.

    Source: Patrini et al., CVPR 2017; reweighting of Liu and Tao as in xiaoboxia/T-Revision.

    References:
        Patrini et al.: Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach. CVPR 2017.
        https://arxiv.org/abs/1609.03683
        Yao et al.: Dual T: Reducing Estimation Error for Transition Matrix in Label-noise Learning. NeurIPS 2020.
        https://arxiv.org/abs/2006.07805
        Code: giorgiop/loss-correction@15a79de, xiaoboxia/T-Revision@b598cf2

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> matrix = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
        >>> LossCorrection(3, "forward", matrix)(logits, targets, now)
        tensor([0.5697, 1.3045])
        >>> LossCorrection(3, "backward", matrix)(logits, targets, now)
        tensor([-0.0210,  1.4076])
    """

    first_scan_option = "estimate_epoch"
    _place: Tensor

    def __init__(
        self,
        num_classes: int,
        correction: Literal["forward", "backward", "reweight"] = "forward",
        matrix: Literal["estimated"] | Sequence[Sequence[float]] = "estimated",
        estimator: Literal["anchor", "dual_t", "consensus"] = "anchor",
        percentile: float | None = 97.0,
        estimate_epoch: int = 20,
    ) -> None:
        super().__init__()
        if correction not in ("forward", "backward", "reweight"):
            raise ValueError(f"unknown correction {correction!r}; choose one of forward, backward, reweight")
        if estimator not in ("anchor", "dual_t", "consensus"):
            raise ValueError(f"unknown estimator {estimator!r}; choose one of anchor, dual_t, consensus")
        if percentile is not None and not 0.0 < percentile <= 100.0:
            raise ValueError(f"percentile must lie in (0, 100], got {percentile}; null lets all samples compete")
        check_whole_number("estimate_epoch", estimate_epoch, 0)
        if isinstance(matrix, str) and matrix != "estimated":
            raise ValueError(
                f"matrix={matrix!r} is no matrix: a config may contain it, but rows of numbers must replace it before the part "
                "is made; give K rows of K probabilities or 'estimated'"
            )
        self.correction = correction
        self.estimator = estimator
        self.percentile = percentile
        self.estimate_epoch = estimate_epoch
        self.matrix: Tensor | None = None
        """(K, K) float64, or None before an estimate."""
        self._inverse: Tensor | None = None
        # Only gives the device on which the ranks can communicate.
        self.register_buffer("_place", torch.zeros(num_classes, num_classes), persistent=False)
        if not isinstance(matrix, str):
            self._set(torch.from_numpy(checked_matrix(matrix, num_classes)))

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        due = self.matrix is None and progress.epoch >= self.estimate_epoch
        needs_features = self.estimator == "consensus"
        return ScanRequest(probs=not needs_features, features=needs_features) if due else None

    def inactive_because(self, last: Progress) -> str | None:
        if self.matrix is not None and torch.equal(self.matrix, torch.eye(len(self.matrix), dtype=self.matrix.dtype)):
            return "its transition matrix says that no label is wrong"
        return super().inactive_because(last)

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        # A fit depends on libraries and threads, the others do not.
        fitted = self.estimator == "consensus"
        matrix = from_rank_zero(lambda: self._estimate(result), self._place) if fitted else self._estimate(result)
        self._set(matrix.cpu().double())
        if rank() == 0:
            kept = 100.0 * float(matrix.diagonal().mean())
            log.info("estimated before epoch %d that a class keeps %.1f%% of its labels", progress.epoch + 1, kept)

    def _estimate(self, result: ScanResult) -> Tensor:
        label = result.label.numpy()
        if self.estimator == "consensus":
            assert result.features is not None
            return torch.from_numpy(consensus_matrix(result.features[0].numpy(), label, len(self._place)).matrix)
        assert result.probs is not None
        probs = result.probs[0].double().numpy()
        dual = self.estimator == "dual_t"
        matrix = dual_t_matrix(probs, label, self.percentile) if dual else anchor_matrix(probs, self.percentile)
        return torch.from_numpy(matrix)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        log_prob = label_log_prob(log_probs, targets.label)
        if self.matrix is None:
            losses = -log_prob
        elif self.correction == "backward":
            assert self._inverse is not None
            costs = -log_probs.clamp_min(_LOG_LEAST_PROB)
            losses = (self._inverse.to(log_probs)[targets.label] * costs).sum(dim=-1)
        else:
            log_noisy = log_noisy_prob(log_probs, self.matrix.to(log_probs), targets.label)
            losses = -log_noisy
            if self.correction == "reweight":
                losses = (log_prob - log_noisy).detach().exp() * -log_prob
        return (targets.weight * losses).sum(dim=0)

    def _set(self, matrix: Tensor) -> None:
        self.matrix = matrix
        if self.correction == "backward":
            condition = float(torch.linalg.cond(matrix))
            if not condition <= _LARGEST_CONDITION:
                raise UserError(
                    f"the transition matrix has the condition number {condition:.3g}, so that its inverse would mostly amplify "
                    "errors; choose criterion.correction=forward"
                )
            self._inverse = torch.linalg.inv(matrix)

    def get_extra_state(self) -> dict[str, Any]:
        return {"matrix": self.matrix}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state["matrix"] is not None:
            self._set(state["matrix"].cpu())


def log_noisy_prob(log_probs: Tensor, matrix: Tensor, label: Tensor) -> Tensor:
    """Logarithm of the probability of each given label.

    Args:
        log_probs: Logarithms of the probabilities of true classes, (B, K).
        matrix: P(given label j | true class i), (K, K); entries below 1e-12 count as this value.
        label: int64 (V, B).

    Returns:
        (V, B).
    """
    return (log_probs + matrix.clamp_min(_LEAST).log().T[label]).logsumexp(dim=-1)


def checked_matrix(given: Sequence[Sequence[float]], num_classes: int) -> np.ndarray:
    """Return a transition matrix as an array.

    Raises:
        ValueError: If it has another shape, or a row is no distribution.
    """
    matrix = np.asarray(given, dtype=np.float64)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"matrix must have {num_classes} rows of {num_classes} numbers, got the shape {matrix.shape}")
    if not ((matrix >= 0.0).all() and np.allclose(matrix.sum(axis=1), 1.0, rtol=0.0, atol=1e-6)):
        raise ValueError("each row of matrix must hold probabilities that sum to 1")
    return matrix
