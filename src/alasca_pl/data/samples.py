"""Samples of a data set: images in memory or in files, their labels, and what a reader returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alasca_pl.data.images import LazyImages
from alasca_pl.noise.labels import Labels


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory of one split of a data set.

    Attributes:
        images: uint8 (N, H, W, C).
        labels: As given, int64 (N,).
        clean: Labels known to be correct, int64 (N,), or None if unknown. For measuring only.
    """

    images: npt.NDArray[np.uint8]
    labels: Labels
    clean: Labels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> "ImageArrays":
        """Return the samples at the given positions."""
        clean = None if self.clean is None else self.clean[index]
        return ImageArrays(self.images[index], self.labels[index], clean)


@dataclass(frozen=True)
class ImageFiles:
    """Images in files of one split of a data set.

    Attributes:
        images: N images.
        labels: As given, int64 (N,).
        clean: Labels known to be correct, int64 (N,), or None if unknown. For measuring only.
    """

    images: LazyImages
    labels: Labels
    clean: Labels | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.images), len(self.labels), *(() if self.clean is None else (len(self.clean),))}
        if len(sizes) > 1:
            raise ValueError(f"{len(self.images)} images, but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> "ImageFiles":
        """Return the samples at the given positions."""
        clean = None if self.clean is None else self.clean[index]
        return ImageFiles(self.images.take(index), self.labels[index], clean)


Split = ImageArrays | ImageFiles


@dataclass(frozen=True)
class RawData:
    """What a reader returns: samples and labels before any draw or normalisation.

    Attributes:
        train: Training samples, with labels as the data set has them.
        test: Test samples, or None. Their labels are known to be clean if ``clean`` or ``labels_are_clean`` says so.
        val: The data set's own validation split, or None if one is to be split off.
        class_names: One name per class, or empty.
        extra: Further test splits by name.
        skipped: Names of corrupt images that were left out on request.
    """

    train: Split
    test: Split | None = None
    val: Split | None = None
    class_names: tuple[str, ...] = ()
    extra: Mapping[str, Split] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def as_images(array: np.ndarray, what: str) -> npt.NDArray[np.uint8]:
    """Convert an image array to the form used here.

    Args:
        array: uint8 (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels. A fourth channel (transparency) is dropped.
        what: Name of the array, for messages.

    Returns:
        uint8 (N, H, W, 1 or 3).

    Raises:
        ValueError: If type or shape differ from these.
    """
    if array.dtype != np.uint8:
        raise ValueError(f"{what} has type {array.dtype}; images must be uint8 with values 0 to 255")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{what} has shape {array.shape}; images must be (N, H, W) or (N, H, W, C) with C = 1 (grey), 3 (RGB) or 4 (RGBA)"
        )
    return np.ascontiguousarray(array[..., :3]) if array.shape[-1] == 4 else np.ascontiguousarray(array)


def as_labels(array: np.ndarray, what: str) -> Labels:
    """Convert a label array to the form used here.

    Args:
        array: Whole numbers, (N,) or (N, 1).
        what: Name of the array, for messages.

    Raises:
        ValueError: If type or shape differ from these, or a label is negative.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{what} has type {array.dtype} and shape {array.shape}; labels must be whole numbers, (N,) or (N, 1)"
        )
    labels = array.astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{what} holds label {labels.min()}; labels must be 0 or more")
    return labels
