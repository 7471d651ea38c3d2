"""What an estimator that knows no clean labels says of the noise of a training set."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from alasca_pl.core.scan import ScanRequest, ScanResult


class NoiseEstimate(NamedTuple):
    """An estimate from the scan of one network."""

    rate: float
    """Fraction of wrong labels."""
    matrix: npt.NDArray[np.float64] | None = None
    """P(given label j | true class i), (K, K); None from an estimator of the rate alone."""


class NoiseEstimator(ABC):
    """Estimates the noise from a scan of the training set, possibly in several ways."""

    request: ScanRequest
    """What it needs."""
    names: tuple[str, ...]
    """The ways."""

    @abstractmethod
    def estimates(self, scan: ScanResult) -> dict[str, NoiseEstimate]:
        """Estimate in each way.

        Args:
            scan: Of one network, see ``ScanResult.of_network``.

        Returns:
            The estimate by each of ``names``.
        """


def matrix_error(estimated: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    """Mean over the true classes of the total variation distance of their rows.

    Args:
        estimated: P(given label j | true class i), (K, K).
        true: The same, measured; rows of absent classes are 0 and do not count.

    Returns:
        A number in [0, 1].

    Example:
        >>> import numpy as np
        >>> matrix_error(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([[0.9, 0.1], [0.2, 0.8]])).__round__(6)
        0.2
    """
    present = true.sum(axis=1) > 0
    return float(np.abs(estimated - true)[present].sum(axis=1).mean() / 2.0)
