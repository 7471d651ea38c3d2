"""Pair flip: each class is mistaken for the next one."""

import numpy as np

from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, Samples, draw_from_matrix


class PairFlip(NoiseModel):
    """Each sample moves with probability ``rate`` to the class after its own; the last class moves to class 0.

    Args:
        rate: Nominal rate in [0, 1].
        seed: Seed of the draw.

    Raises:
        ValueError: If a value is outside its range.

    Source: bhanML/Co-teaching.

    References:
        Han et al.: Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels. NeurIPS 2018.
        https://arxiv.org/abs/1804.06872
        Code: bhanML/Co-teaching@7c7fbe2

    Example:
        >>> samples = Samples(np.array([0, 1, 2]), np.arange(3), num_classes=3)
        >>> PairFlip(1.0).draw(samples).label.tolist()
        [1, 2, 0]
    """

    kind = "pairflip"
    rate: float

    def __init__(self, rate: float, seed: int = 0) -> None:
        super().__init__(rate, seed)

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        stay = np.eye(samples.num_classes)
        matrix = (1.0 - self.rate) * stay + self.rate * np.roll(stay, 1, axis=1)
        return draw_from_matrix(samples.label, matrix, rng)
