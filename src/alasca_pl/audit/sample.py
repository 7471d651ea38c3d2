"""A random sample of labels for review, from which the number of wrong labels can be estimated without bias."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_EDGES = (0.05, 0.2, 0.5, 0.8)
_LEAST = 12


@dataclass(frozen=True)
class Sample:
    """Places of labels, drawn within strata of the estimated probability of being wrong.

    Attributes:
        place: Places in the order of suspicion, int64 (s,), in the order in which they are to be reviewed. Each beginning of
            this order is a random sample within each stratum.
        stratum: Number of the stratum of each, int64 (s,).
        size: Number of labels in each stratum, int64 (H,).
    """

    place: npt.NDArray[np.int64]
    stratum: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]


def draw_sample(probability: Array, count: int, seed: int = 0) -> Sample:
    """Draw a stratified sample.

    Strata in which errors are frequent and uncertain get more of the sample, but each at least 12 labels if it has as many.

    Args:
        probability: Of being wrong, from the most to the least suspicious, (n,).
        count: Size of the sample; it is exceeded where the strata's least sizes need it.
        seed: Seed of the draw.

    Example:
        >>> sample = draw_sample(np.linspace(1, 0, 1000), 100)
        >>> len(sample.place), sample.size.tolist()
        (100, [50, 150, 300, 300, 200])
    """
    stratum = np.searchsorted(_EDGES, probability, side="right")
    size = np.bincount(stratum, minlength=len(_EDGES) + 1)
    rng = np.random.default_rng(seed)
    mean = np.bincount(stratum, probability, len(size)) / np.maximum(size, 1)
    # Neyman's allocation by the estimated deviation; 0.05 keeps certainty of an estimate from being taken for a fact.
    want = size * np.sqrt(np.maximum(mean * (1 - mean), 0.05))
    least = np.minimum(size, _LEAST)
    rest = max(count - int(least.sum()), 0)
    extra = np.floor(rest * want / max(want.sum(), 1e-12)).astype(np.int64)
    taken = np.minimum(size, least + extra)
    for number in np.argsort(-want, kind="stable"):
        missing = min(count, int(size.sum())) - int(taken.sum())
        if missing > 0:
            taken[number] += min(missing, int(size[number] - taken[number]))
    places = [
        rng.choice(np.flatnonzero(stratum == number), taken[number], replace=False) for number in range(len(size))
    ]
    place = np.concatenate(places).astype(np.int64)
    place = place[rng.permutation(len(place))]
    return Sample(place, stratum[place].astype(np.int64), size.astype(np.int64))
