"""Symmetric noise: each class is equally probable as a wrong label."""

from typing import Literal, get_args

import numpy as np

from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, Samples, draw_from_matrix, rounded_count

Variant = Literal["inclusive", "inclusive_floor", "exclusive"]


class SymmetricNoise(NoiseModel):
    """Labels redrawn from all classes.

    Args:
        rate: Nominal rate in [0, 1].
        variant: ``inclusive``: exactly ``ceil(rate * N)`` samples get a label drawn from all K classes, the true one
            included, so that ``rate * (K - 1) / K`` of all labels are wrong (the noise of the ALASCA paper's
            experiments). ``inclusive_floor``: the same with ``floor(rate * N)`` samples. ``exclusive``: each sample
            changes with probability ``rate`` to one of the other K - 1 classes.
        seed: Seed of the draw.

    Raises:
        ValueError: If a value is outside its range.

    Source: jongwooko/ALASCA and Kthyeon/FINE_official (inclusive); LiJunnan1992/DivideMix (inclusive_floor);
    bhanML/Co-teaching (exclusive).

    References:
        Code: jongwooko/ALASCA@a47249d, Kthyeon/FINE_official@d5ab341, LiJunnan1992/DivideMix@d9d3058, bhanML/Co-teaching@7c7fbe2

    Example:
        >>> samples = Samples(np.arange(1000) % 10, np.arange(1000), num_classes=10)
        >>> drawn = SymmetricNoise(0.5).draw(samples)
        >>> 0.4 < drawn.realised_rate < 0.5
        True
    """

    kind = "symmetric"
    rate: float

    def __init__(self, rate: float, variant: Variant = "inclusive", seed: int = 0) -> None:
        super().__init__(rate, seed)
        if variant not in get_args(Variant):
            known = ", ".join(get_args(Variant))
            raise ValueError(f"unknown variant {variant!r} of symmetric noise; choose one of {known}")
        self.variant = variant

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        label, num_classes = samples.label, samples.num_classes
        if self.variant != "exclusive":
            observed = label.copy()
            count = rounded_count(self.rate, len(label), up=self.variant == "inclusive")
            chosen = rng.permutation(len(label))[:count]
            observed[chosen] = rng.integers(0, num_classes, len(chosen))
            return observed
        matrix = np.full((num_classes, num_classes), self.rate / max(num_classes - 1, 1))
        np.fill_diagonal(matrix, 1.0 - self.rate)
        return draw_from_matrix(label, matrix, rng)
