"""Symmetric noise: a wrong label is any class with equal chance."""

from typing import Literal

import numpy as np

from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, draw_from_matrix, share


class SymmetricNoise(NoiseModel):
    """Labels drawn anew from all classes.

    Args:
        rate: Nominal rate in [0, 1].
        variant: ``inclusive``: exactly ``ceil(rate * N)`` samples get a label drawn from all K classes, the true one
            included, so that ``rate * (K - 1) / K`` of all labels end up wrong (the noise behind the ALASCA paper's
            numbers). ``exclusive``: each sample changes with probability ``rate`` to one of the other K - 1 classes.
        seed: Seed of the draw.

    Raises:
        ValueError: If a value is outside its range.

    Source: jongwooko/ALASCA and Kthyeon/FINE_official (inclusive); bhanML/Co-teaching (exclusive).
    """

    kind = "symmetric"
    rate: float

    def __init__(self, rate: float, variant: Literal["inclusive", "exclusive"] = "inclusive", seed: int = 0) -> None:
        super().__init__(rate, seed)
        if variant not in ("inclusive", "exclusive"):
            raise ValueError(f"unknown variant {variant!r} of symmetric noise; choose one of inclusive, exclusive")
        self.variant = variant

    def corrupt(self, label: Labels, num_classes: int, rng: np.random.Generator) -> Labels:
        if self.variant == "inclusive":
            observed = label.copy()
            chosen = rng.permutation(len(label))[: share(self.rate, len(label))]
            observed[chosen] = rng.integers(0, num_classes, len(chosen))
            return observed
        matrix = np.full((num_classes, num_classes), self.rate / max(num_classes - 1, 1))
        np.fill_diagonal(matrix, 1.0 - self.rate)
        return draw_from_matrix(label, matrix, rng)
