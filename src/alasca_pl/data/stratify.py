"""Drawing samples evenly over the classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def stratified_split(
    labels: npt.NDArray[Any], size: int, seed: int, fewer_than_classes: bool = False
) -> tuple[Ints, Ints]:
    """Split positions into two parts in which each class has the same fraction, up to rounding.

    Draws the same samples as scikit-learn's ``train_test_split(test_size=size, stratify=labels, random_state=seed)``. That
    library alone takes as long to import as everything else that comes before the first training step.

    Args:
        labels: Class of each sample, (N,).
        size: Number of samples in the second part.
        seed: From 0 to 2**32 - 1.
        fewer_than_classes: Allow a second part without samples of some classes.

    Returns:
        Positions of both parts, int64, ascending.

    Raises:
        ValueError: If a part would have fewer samples than there are classes, or a class has one sample only.

    Example:
        >>> rest, taken = stratified_split(np.array([0, 0, 0, 0, 1, 1]), size=3, seed=0)
        >>> [int((part > 3).sum()) for part in (rest, taken)]
        [1, 1]
    """
    classes, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rest_size = len(labels) - size
    if counts.min() < 2:
        raise ValueError("a class with one sample cannot be in both parts")
    fewest = rest_size if fewer_than_classes else min(size, rest_size)
    if fewest < len(classes):
        raise ValueError(f"{fewest} samples are fewer than the {len(classes)} classes")
    rng = np.random.RandomState(seed)
    in_rest = _divide(counts, rest_size, rng)
    in_taken = _divide(counts - in_rest, size, rng)
    parts: tuple[list[Ints], list[Ints]] = ([], [])
    for number, count in enumerate(counts):
        order = np.flatnonzero(class_of == number)[rng.permutation(count)]
        parts[0].append(order[: in_rest[number]])
        parts[1].append(order[in_rest[number] : in_rest[number] + in_taken[number]])
    rest, taken = (np.sort(np.concatenate(part)).astype(np.int64) for part in parts)
    return rest, taken


def _divide(counts: Ints, total: int, rng: np.random.RandomState) -> Ints:
    """Divide ``total`` over classes in proportion to ``counts``; the largest fractions are rounded up, ties drawn."""
    wanted = counts / counts.sum() * total
    whole = np.floor(wanted)
    left = int(total - whole.sum())
    fractions = wanted - whole
    for fraction in np.unique(fractions)[::-1]:
        if left <= 0:
            break
        tied = np.flatnonzero(fractions == fraction)
        chosen = rng.choice(tied, size=min(len(tied), left), replace=False)
        whole[chosen] += 1
        left -= len(chosen)
    return whole.astype(np.int64)
