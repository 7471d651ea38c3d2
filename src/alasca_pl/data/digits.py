"""The 1,797 real 8 x 8 grey digits that scikit-learn includes: nothing to download."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alasca_pl.data.samples import ImageArrays, RawData, as_images
from alasca_pl.data.stratify import stratified_split


def read_digits(num_test: int = 400) -> RawData:
    """Read the digits; the test split is the same in every run.

    Args:
        num_test: Size of the test split, drawn evenly over the classes.

    Returns:
        Grey images of 8 x 8 pixels, 10 classes.
    """
    pixels, target = _read_file() or _read_by_library()
    images = as_images(np.round(pixels * (255 / 16)).astype(np.uint8), "digits")
    labels = target.astype(np.int64)
    train, test = stratified_split(labels, num_test, seed=0)
    everything = ImageArrays(images, labels)
    names = tuple(str(name) for name in range(10))
    return RawData(everything.take(train), everything.take(test), class_names=names)


def _read_file() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Images and labels from scikit-learn's file, without the 2 seconds that importing the library takes."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        return None
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def _read_by_library() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target
