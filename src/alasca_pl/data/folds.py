"""Folds of the training labels, for predictions by networks that have not seen a label."""

import re

import numpy as np
import numpy.typing as npt

from alasca_pl.core.seeds import derive_seed

HELD_OUT = "held_out"
"""Name of the split of samples that are left out of training. It is not evaluated after each epoch."""

_FOLD = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


def fold_of(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Divide samples into folds with equally many samples, and equally many of each class, up to one.

    Args:
        labels: Observed labels, int64 (N,).
        count: Number of folds, from 2 to N.
        seed: Seed of the draw.

    Returns:
        Number of the fold of each sample, int64 (N,).

    Raises:
        ValueError: If there are fewer samples than folds.

    Example:
        >>> fold = fold_of(np.array([0, 0, 0, 0, 1, 1, 1, 1]), count=2, seed=0)
        >>> np.bincount(fold).tolist(), int(fold[:4].sum())
        ([4, 4], 2)
    """
    if not 2 <= count <= len(labels):
        raise ValueError(f"{len(labels)} samples cannot be divided into {count} folds")
    rng = np.random.default_rng(derive_seed(seed, "folds", count))
    # Shuffled, then sorted by class: a class begins where the one before it ended.
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % count
    return fold


def read_fold(text: str) -> tuple[int, int]:
    """Number of a fold and number of folds.

    Raises:
        ValueError: If the text does not say them.

    Example:
        >>> read_fold("0/3")
        (0, 3)
    """
    found = _FOLD.fullmatch(text)
    if not found or not int(found[1]) < int(found[2]):
        raise ValueError(f"audit.fold must be k/n with k from 0 to n - 1, got {text!r}")
    return int(found[1]), int(found[2])
