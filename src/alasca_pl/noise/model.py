"""The contract of a noise model."""

import numpy as np
import numpy.typing as npt

from alasca_pl.core.seeds import derive_seed
from alasca_pl.noise.labels import Labels, NoisyLabels


class NoiseModel:
    """Turns clean labels into observed ones, with a generator of its own.

    Args:
        rate: Nominal noise rate in [0, 1], or None for kinds without one.
        seed: Seed of the draw, at least 0. The run's own seed plays no part.

    Raises:
        ValueError: If a value is outside its range.
    """

    kind = "none"

    def __init__(self, rate: float | None = None, seed: int = 0) -> None:
        if rate is not None and not (isinstance(rate, int | float) and 0.0 <= rate <= 1.0):
            raise ValueError(
                f"noise rate must lie in [0, 1], got {rate!r}; 0.4 means that 40 % of the labels are drawn anew"
            )
        if seed < 0:
            raise ValueError(f"noise seed must be at least 0, got {seed}")
        self.rate = rate
        self.seed = seed

    def corrupt(self, label: Labels, num_classes: int, rng: np.random.Generator) -> Labels:
        """Return observed labels for clean ones, both int64 (N,); the input stays as it is."""
        return label.copy()

    def draw(
        self, label: Labels, index: npt.NDArray[np.int64], num_classes: int, part: str = "train", trusted: bool = True
    ) -> NoisyLabels:
        """Draw the observed labels of one part of a data set.

        Args:
            label: Labels of the data set, int64 (N,).
            index: Their positions in the data set's own training set, int64 (N,).
            num_classes: K.
            part: Name of the part; each part has its own random stream.
            trusted: Whether the labels are clean. If not, and this model changes nothing, clean labels are unknown.
        """
        rng = np.random.default_rng(derive_seed(self.seed, "noise", self.kind, part))
        observed = self.corrupt(label, num_classes, rng)
        known = trusted or self.kind != NoiseModel.kind
        seed = None if self.kind == NoiseModel.kind else self.seed
        return NoisyLabels(observed, label.copy() if known else None, index, num_classes, self.kind, self.rate, seed)


def share(rate: float, count: int) -> int:
    """The smallest whole number of at least ``rate * count``, without the error of floating-point products."""
    return int(np.ceil(round(rate * count, 6)))


def draw_from_matrix(label: Labels, matrix: npt.NDArray[np.float64], rng: np.random.Generator) -> Labels:
    """Draw each label from the row of its class, one uniform number per sample.

    Args:
        label: int64 (N,).
        matrix: P(observed j given clean i), (K, K), rows sum to 1.
        rng: The generator.
    """
    edges = np.cumsum(matrix, axis=1)[label]
    below = rng.random((len(label), 1)) >= edges
    return np.minimum(below.sum(axis=1), matrix.shape[1] - 1).astype(np.int64)
