"""The noise rate, estimated from the networks' losses and predictions for the training samples."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import from_rank_zero, rank
from alasca_pl.core.parts import ScanningPart
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress
from alasca_pl.methods.mixture import scale_to_unit, two_component_posterior
from alasca_pl.methods.transition import consensus_matrix

log = logging.getLogger(__name__)

# The mixture of LiJunnan1992/DivideMix on min-max normalised losses, with more iterations.
_REG_COVAR = 5e-4
_MAX_ITER = 100
_TOL = 1e-4
# Of two classes predictions have two directions only; tables of the consensus grow with the cube of the number of classes.
_FEWEST_CLASSES, _MOST_CLASSES = 3, 100
_LEAST_SAMPLES = 3


def mixture_rate(losses: np.ndarray, seed: int = 0) -> float:
    """Estimate the noise rate by splitting the losses into two groups.

    The losses are scaled to [0, 1], two Gaussians are fitted, and the mean posterior of the one with the higher losses
    is the estimate. Hard clean samples are counted as noisy, memorised noisy samples as clean. Losses that do not form
    two groups, such as those of data without noise, are split nevertheless.

    Args:
        losses: Finite, float (N,).
        seed: Of the mixture's start.

    Returns:
        A rate in [0, 1]; 0 if all losses are equal.
    """
    low = two_component_posterior(
        scale_to_unit(losses), "low", max_iter=_MAX_ITER, tol=_TOL, reg_covar=_REG_COVAR, seed=seed
    )
    # By the complement, because losses that do not form two groups all count as low.
    return float(np.clip(1.0 - low.mean(), 0.0, 1.0))


def confident_rate(probs: np.ndarray, label: np.ndarray) -> float:
    """Estimate the noise rate by counting samples that are confidently of another class.

    A sample counts for the class of largest probability among those whose probability is at least the mean that samples
    with that label give it; a sample without such a class does not count. The counts of each label are scaled to its
    number of samples. Errors of a network on clean samples are counted as noisy labels, so that the estimate is too
    large while a network is poor.

    Args:
        probs: Float (N, K).
        label: Given labels, int64 (N,).

    Returns:
        A rate in [0, 1]; 0 if no sample counts.

    Source: Northcutt, Jiang and Chuang, JAIR 2021, confident joint.

    References:
        Northcutt, Jiang and Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 2021.
        https://arxiv.org/abs/1911.00068

    Example:
        >>> import numpy as np
        >>> probs = np.array([[0.9, 0.1], [0.05, 0.95], [0.1, 0.9], [0.2, 0.8]])
        >>> confident_rate(probs, label=np.array([0, 0, 1, 1]))
        0.25
    """
    num_classes = probs.shape[1]
    of_label = np.bincount(label, minlength=num_classes)
    own = np.bincount(label, weights=probs[np.arange(len(label)), label], minlength=num_classes)
    # A class without samples has no mean; nothing is confidently of it.
    threshold = np.where(of_label > 0, own / np.maximum(of_label, 1), np.inf)
    confident = probs >= threshold
    counted = confident.any(axis=1)
    likely = np.where(confident, probs, -1.0).argmax(axis=1)
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (label[counted], likely[counted]), 1.0)
    rows = joint.sum(axis=1)
    scaled = joint / np.maximum(rows, 1.0)[:, None] * np.where(rows > 0, of_label, 0)[:, None]
    total = scaled.sum()
    return float(1.0 - np.trace(scaled) / total) if total > 0 else 0.0


def consensus_rate(probs: np.ndarray, label: np.ndarray, seed: int = 0) -> float:
    """Estimate the noise rate by how often samples that are predicted alike have equal labels, see ``consensus_matrix``.

    Neighbours are sought by the angle of centred logarithms of probabilities, which give nearly the rate that features do. The
    estimate is too large while the network does not separate the classes, and too small once it has memorised labels.

    Args:
        probs: Float (N, K), of at least three classes.
        label: Given labels, int64 (N,).
        seed: Of the choice of samples.

    Returns:
        A rate in [0, 1].

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> true = np.repeat([0, 1, 2], 400)
        >>> probs = 0.7 * np.eye(3)[true] + 0.3 * rng.dirichlet([1, 1, 1], 1200)
        >>> label = np.where(rng.random(1200) < 0.2, (true + 1) % 3, true)
        >>> 0.15 < consensus_rate(probs, label) < 0.25
        True
    """
    log_probs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
    centred = log_probs - log_probs.mean(axis=1, keepdims=True)
    return consensus_matrix(centred.astype(np.float32), label, probs.shape[1], seed).noise_rate


def estimate_noise_rate(
    losses: np.ndarray, probs: np.ndarray | None = None, label: np.ndarray | None = None, seed: int = 0
) -> float:
    """Estimate the noise rate without clean labels: the smaller of two estimates, averaged over networks.

    The mixture of losses knows little of the rate, but a poor network hardly disturbs it; the consensus of predictions is
    close to the rate once a network classifies well, and far too large before. Above 100 classes, where the consensus would take
    too long, and of two classes the confident joint takes its place.

    Mean error over kinds of noise, one seed (experiments/noise_rates): 0.05 on 15,000 images of CIFAR-10 with networks that
    classify 58 to 80 % of them correctly, where the smaller of mixture and confident joint has 0.08; 0.01 on the 1,297 digits
    after 10 epochs (rates of 0 to 0.54); 0.11 on 2,500 images of CIFAR-10 after 10 epochs, where it is the mixture's.

    Args:
        losses: Finite, float (M, N), against the given labels.
        probs: Float (M, N, K), or None to use only the mixture.
        label: Given labels, int64 (N,); needed with ``probs``.
        seed: Of the mixture's start and the choice of samples.

    Returns:
        A rate in [0, 1].

    Raises:
        ValueError: If losses are not finite or not (M, N).
    """
    if losses.ndim != 2 or losses.size == 0:
        raise ValueError(f"losses must have the shape (networks, samples), got {losses.shape}")
    rates = []
    for number, each in enumerate(losses):
        rate = mixture_rate(each, seed)
        if probs is not None and label is not None:
            rate = min(rate, _rate_of_predictions(probs[number], label, seed))
        rates.append(rate)
    return float(np.mean(rates))


def _rate_of_predictions(probs: np.ndarray, label: np.ndarray, seed: int) -> float:
    if not _FEWEST_CLASSES <= probs.shape[1] <= _MOST_CLASSES or len(label) < _LEAST_SAMPLES:
        return confident_rate(probs, label)
    return consensus_rate(probs, label, seed)


class NoiseRateEstimate(nn.Module):
    """An estimate of the noise rate that is part of the checkpoint; see ``estimate_noise_rate``.

    Args:
        seed: Of the mixture's start.

    References:
        Li, Socher and Hoi: DivideMix: Learning with Noisy Labels as Semi-supervised Learning. ICLR 2020.
        https://arxiv.org/abs/2002.07394
        Zhu, Song and Liu: Clusterability as an Alternative to Anchor Points When Learning with Noisy Labels. ICML 2021.
        https://arxiv.org/abs/2102.05291

    Example:
        >>> import torch
        >>> estimate = NoiseRateEstimate()
        >>> round(estimate.update(torch.tensor([[0.1, 0.2, 0.1, 3.0]]), epoch=1), 2)
        0.25
    """

    rate: float | None
    """The estimate, or None before the first."""
    epoch: int | None
    """The epoch before which it was made, or None."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.rate = None
        self.epoch = None
        # Only gives the device on which the ranks can communicate.
        self._place = torch.zeros(())

    def update(self, losses: Tensor, epoch: int, probs: Tensor | None = None, label: Tensor | None = None) -> float:
        """Estimate anew; every rank must call it.

        Args:
            losses: Cross-entropy of all training samples against their given labels, float (M, N).
            epoch: The epoch that is about to begin.
            probs: Class probabilities, float (M, N, K), or None.
            label: Given labels, int64 (N,); needed with ``probs``.

        Returns:
            The rate, equal on all ranks.

        Raises:
            ValueError: If a loss is not finite.
        """
        # Checked on all ranks, because after an error on rank 0 only the others would wait forever.
        if not torch.isfinite(losses).all():
            raise ValueError(f"losses before epoch {epoch + 1} are not finite; has the run diverged?")
        values = losses.detach().cpu().numpy()
        says = None if probs is None else probs.detach().cpu().numpy()
        given = None if label is None else label.cpu().numpy()
        place = from_rank_zero(lambda: torch.tensor(estimate_noise_rate(values, says, given, self.seed)), self._place)
        self.rate, self.epoch = float(place), epoch
        if rank() == 0:
            log.info("estimated before epoch %d that %.1f%% of the labels are wrong", epoch + 1, 100.0 * self.rate)
        return self.rate

    def get_extra_state(self) -> dict[str, Any]:
        return {"rate": self.rate, "epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rate, self.epoch = state["rate"], state["epoch"]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NoiseRateEstimate":
        super()._apply(fn, recurse)
        self._place = self._place.to(fn(self._place).device)
        return self


class NeedsNoiseRate(ScanningPart):
    """A part that is given the noise rate or estimates it once; a mixin for methods, next to the class of their slot.

    Attributes:
        noise_rate: As it was given.
        estimate_epoch: Epoch before which it is estimated.
        estimate: The estimate, or None if a number was given.
    """

    first_scan_option = "estimate_epoch"
    noise_rate: float | Literal["estimated"]
    estimate_epoch: int
    estimate: NoiseRateEstimate | None

    def take_noise_rate(self, noise_rate: float | Literal["estimated"], estimate_epoch: int, seed: int) -> None:
        """Check and keep the arguments of the constructor.

        Raises:
            ValueError: If one is outside its range.
        """
        if isinstance(noise_rate, str) and noise_rate != "estimated":
            raise ValueError(
                f"noise_rate={noise_rate!r} is not a number: a config may contain it, but the number must replace it "
                "before the part is made; give a number in [0, 1] or 'estimated'"
            )
        if not isinstance(noise_rate, str) and not 0.0 <= noise_rate <= 1.0:
            raise ValueError(f"noise_rate must lie in [0, 1], got {noise_rate}; or choose 'estimated'")
        check_whole_number("estimate_epoch", estimate_epoch, 0)
        self.noise_rate = noise_rate
        self.estimate_epoch = estimate_epoch
        self.estimate = NoiseRateEstimate(seed) if noise_rate == "estimated" else None

    def rate_since(self) -> tuple[float, int] | None:
        """Return the rate and the epoch from which it is known, or None before an estimate."""
        if not isinstance(self.noise_rate, str):
            return self.noise_rate, 0
        if self.estimate is None or self.estimate.rate is None or self.estimate.epoch is None:
            return None
        return self.estimate.rate, self.estimate.epoch

    def inactive_because(self, last: Progress) -> str | None:
        known = self.rate_since()
        if known is None or known[0] > 0.0:
            return super().inactive_because(last)
        if isinstance(self.noise_rate, str):
            return f"the noise rate was estimated to be 0 before epoch {known[1] + 1}"
        return f"noise_rate={self.noise_rate:g}"

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        due = self.rate_since() is None and progress.epoch >= self.estimate_epoch
        return ScanRequest(losses=True, probs=True) if due else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert self.estimate is not None and result.losses is not None
        self.estimate.update(result.losses, progress.epoch, result.probs, result.label)
