"""Noise from a class transition matrix, given or estimated from recorded labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alasca_pl.noise.from_file import read_table
from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, Samples, draw_from_matrix
from alasca_pl.noise.recorded import RecordedLabels


class MatrixNoise(NoiseModel):
    """Each label drawn from the row of its clean class.

    Args:
        matrix: P(observed j given clean i), K rows of K numbers that sum to 1, or a ``.npy``, ``.txt`` or ``.csv`` file of
            them.
        like: Recorded labels; the matrix is estimated from all of them, so that classes are confused as often as there,
            but independently of the image. A class that does not occur in them keeps its labels. Either ``matrix`` or
            ``like`` must be given.
        seed: Seed of the draw.

    Raises:
        ValueError: If neither or both are given, or the matrix does not contain probabilities.

    Source: the synthetic labels of UCSC-REAL/cifar-10-100n (``like``).

    References:
        Code: UCSC-REAL/cifar-10-100n@49df7d8

    Example:
        >>> samples = Samples(np.array([0, 1, 1]), np.arange(3), num_classes=2)
        >>> MatrixNoise([[0.0, 1.0], [0.0, 1.0]]).draw(samples).label.tolist()
        [1, 1, 1]
    """

    kind = "matrix"

    def __init__(
        self,
        matrix: str | Path | Sequence[Sequence[float]] | None = None,
        like: RecordedLabels | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(None, seed)
        if (matrix is None) == (like is None):
            got = "neither" if matrix is None else "both"
            raise ValueError(
                f"matrix noise needs one of matrix and like, got {got}; for instance "
                "'noise.matrix=[[0.9,0.1],[0.2,0.8]]', noise.matrix=FILE.csv, or noise@noise.like=human"
            )
        if like is not None and not isinstance(like, RecordedLabels):
            raise ValueError(
                f"like must be recorded labels, got {type(like).__name__}; choose noise@noise.like=human or from_file"
            )
        self.matrix = None if matrix is None else _checked(matrix)
        self.like = like

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        return draw_from_matrix(samples.label, self.for_classes(samples.num_classes), rng)

    def for_classes(self, num_classes: int) -> npt.NDArray[np.float64]:
        """The matrix for a data set of K classes, (K, K).

        Raises:
            ValueError: If it is for another number of classes, or cannot be estimated.
        """
        if self.matrix is not None:
            if len(self.matrix) != num_classes:
                raise ValueError(f"the noise matrix is for {len(self.matrix)} classes, but the data has {num_classes}")
            return self.matrix
        assert self.like is not None
        estimated = self.like.recorded(num_classes).transition_matrix
        if estimated is None:
            raise ValueError(
                f"{self.like.source} has no clean labels, so no matrix can be estimated from it; give a file with "
                "clean_label, e.g. one made by alasca-noise make, or the matrix itself"
            )
        absent = estimated.sum(axis=1) == 0
        estimated[absent] = np.eye(num_classes)[absent]
        return estimated


def _checked(given: str | Path | Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    what = f"the noise matrix in {given}" if isinstance(given, str | Path) else "the noise matrix"
    try:
        if isinstance(given, str | Path):
            path = Path(given).expanduser()
            if path.suffix.lower() not in (".npy", ".txt", ".csv"):
                raise ValueError("its name must end in .npy, .txt or .csv")
            matrix = read_table(path).astype(np.float64)
        else:
            matrix = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot use {what}: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{what} has shape {matrix.shape}; it must have K rows of K numbers")
    outside = matrix[~((matrix >= 0.0) & (matrix <= 1.0))]
    if len(outside):
        raise ValueError(f"{what} holds {outside[0]}; probabilities lie in [0, 1]")
    off = np.flatnonzero(np.abs(matrix.sum(axis=1) - 1.0) > 1e-6)
    if len(off):
        raise ValueError(f"row {off[0]} of {what} sums to {matrix[off[0]].sum():.6g}; each row must sum to 1")
    return matrix
