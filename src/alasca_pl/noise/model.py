"""The contract of a noise model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.core.seeds import derive_seed
from alasca_pl.noise.labels import Labels, NoisyLabels

# Maximum number of entries of a temporary array, so that memory does not grow with samples times classes.
_CELLS = 2**22

Pixels = Callable[[int, int], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """What a noise model may use.

    Attributes:
        label: Labels to start from, int64 (N,).
        index: Positions of the samples in the data set's own training set (or own validation split), int64 (N,).
        num_classes: K.
        split: ``train`` or ``val``.
        own_split: Whether the data set itself has this split; ``index`` then gives positions in it and not in the
            training set.
        pixels: From a range of rows to their images, uint8 (n, H, W, C), all of one size; None if there are none.
        data_digest: Hash of the data set's training set, or None if there is none.
    """

    label: Labels
    index: npt.NDArray[np.int64]
    num_classes: int
    split: str = "train"
    own_split: bool = False
    pixels: Pixels | None = None
    data_digest: str | None = None


class NoiseModel:
    """Changes clean labels into observed ones, with its own generator.

    Args:
        rate: Nominal noise rate in [0, 1], or None for kinds without one.
        seed: Seed of the draw, at least 0. It does not depend on the run's own seed. None for kinds that draw nothing.

    Raises:
        ValueError: If a value is outside its range.
    """

    kind = "none"

    def __init__(self, rate: float | None = None, seed: int | None = 0) -> None:
        if rate is not None and (isinstance(rate, bool) or not (isinstance(rate, int | float) and 0.0 <= rate <= 1.0)):
            raise ValueError(
                f"noise rate must lie in [0, 1], got {rate!r}; 0.4 means that 40 % of the labels are drawn anew"
            )
        if seed is not None and seed < 0:
            raise ValueError(f"noise seed must be at least 0, got {seed}")
        self.rate = rate
        self.seed = seed

    @classmethod
    def kind_and_rate(cls, node: Mapping[str, Any]) -> tuple[str, float | None]:
        """Kind and nominal rate of the noise that a config specifies, known before any label is drawn.

        Args:
            node: The resolved node ``noise`` of the config.

        Raises:
            ValueError: If they are recorded in a file that cannot be read.
        """
        rate = node.get("rate")
        return cls.kind, float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else None

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        """Return observed labels, int64 (N,); ``samples.label`` is not changed.

        Args:
            samples: What they are drawn for.
            rng: The generator, which depends on the model's seed, its kind and the split.
        """
        return samples.label.copy()

    def stream(self, *names: str) -> np.random.Generator:
        """A further generator of this model, e.g. for random numbers that all splits share."""
        return np.random.default_rng(derive_seed(self.seed or 0, "noise", self.kind, *names))

    def draw(self, samples: Samples, clean_label: Labels | None = None, labels_are_clean: bool = True) -> NoisyLabels:
        """Draw the observed labels of one split of a data set.

        Args:
            samples: What they are drawn for; ``samples.label`` are the labels as the data set has them.
            clean_label: Labels known to be correct, int64 (N,), for measuring, if the data set has both.
            labels_are_clean: Whether the data set's labels are clean. If they are not, no ``clean_label`` is given and this model
                changes nothing, clean labels are unknown.
        """
        observed = self.corrupt(samples, self.stream(samples.split))
        changes = self.kind != NoiseModel.kind
        clean = clean_label if clean_label is not None else samples.label if labels_are_clean or changes else None
        return NoisyLabels(
            label=observed,
            clean_label=None if clean is None else clean.copy(),
            index=samples.index,
            num_classes=samples.num_classes,
            kind=self.kind,
            rate=self.rate,
            seed=self.seed if changes else None,
            data_digest=samples.data_digest,
            own_split=samples.own_split,
        )


def rounded_count(rate: float, count: int, up: bool = True) -> int:
    """``rate * count`` rounded up or down to a whole number, without floating-point error."""
    exact = round(rate * count, 6)
    return int(np.ceil(exact) if up else np.floor(exact))


def draw_from_matrix(label: Labels, matrix: npt.NDArray[np.float64], rng: np.random.Generator) -> Labels:
    """Draw each label from the row of its class, one uniform number per sample.

    Args:
        label: int64 (N,).
        matrix: P(observed j given clean i), (K, K), rows sum to 1.
        rng: The generator.
    """
    edges = np.cumsum(matrix, axis=1)
    # The last edge is then exactly 1, so that no number in [0, 1) falls above it or into a class of probability 0.
    edges /= edges[:, -1:]
    uniform = rng.random(len(label))
    observed = np.empty_like(label)
    rows = max(1, _CELLS // len(matrix))
    for start in range(0, len(label), rows):
        chunk = slice(start, start + rows)
        observed[chunk] = (uniform[chunk, None] >= edges[label[chunk]]).sum(axis=1)
    return observed
