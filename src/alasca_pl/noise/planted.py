"""Errors that are planted in labels on purpose, to see whether an audit finds them."""

from dataclasses import replace

import numpy as np

from alasca_pl.core.seeds import derive_seed
from alasca_pl.noise.labels import NoisyLabels


def plant_errors(labels: NoisyLabels, fraction: float, seed: int) -> NoisyLabels:
    """Change a fraction of the labels to other classes, drawn uniformly.

    Args:
        labels: Observed labels.
        fraction: Of the labels, in [0, 0.5].
        seed: Seed of the draw.

    Returns:
        The labels with the planted errors, which ``planted_from`` records. 0 returns the same object.

    Raises:
        ValueError: If the fraction is outside its range, or there is only one class.

    Example:
        >>> label = np.array([0, 1, 2, 0])
        >>> planted = plant_errors(NoisyLabels(label, None, np.arange(4), 3, "none", None, None), 0.25, seed=0)
        >>> int((planted.label != label).sum()), int((planted.planted_from >= 0).sum())
        (1, 1)
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 0.5:
        raise ValueError(f"audit.plant must lie in [0, 0.5], got {fraction!r}; 0.02 plants errors in 2 % of the labels")
    if not fraction:
        return labels
    if labels.num_classes < 2:
        raise ValueError("audit.plant needs at least 2 classes")
    rng = np.random.default_rng(derive_seed(seed, "planted"))
    count = max(1, round(fraction * len(labels.label)))
    rows = rng.choice(len(labels.label), count, replace=False)
    label = labels.label.copy()
    label[rows] = (label[rows] + rng.integers(1, labels.num_classes, count)) % labels.num_classes
    before = np.full(len(label), -1, dtype=np.int64)
    before[rows] = labels.label[rows]
    return replace(labels, label=label, planted_from=before)
