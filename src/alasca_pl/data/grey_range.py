"""Grey values of 16-bit images: which of them occur, and how they become 8 bits."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from alasca_pl.data.samples import ImageFiles, Split

log = logging.getLogger(__name__)

_LARGEST = 65535
# Images that are looked at.
_SAMPLE = 100
# Fewer grey levels of 256 than this are worth a warning.
_FEW = 64


def with_grey_range(splits: Mapping[str, Split], grey_range: Sequence[int] | None) -> dict[str, Split]:
    """Let 16-bit images be scaled from a range of grey values; without one, warn if they use little of theirs.

    Args:
        splits: By name; the training split is looked at.
        grey_range: Smallest and largest value, which become 0 and 255; None for 0 and 65535.

    Returns:
        The splits with images that are read in this way.

    Raises:
        ValueError: If the range is none, or the images are in memory.
    """
    train = splits["train"]
    if grey_range is None:
        if isinstance(train, ImageFiles):
            _warn(train)
        return dict(splits)
    values = tuple(grey_range)
    if len(values) != 2 or not 0 <= values[0] < values[1] <= _LARGEST:
        raise ValueError(
            f"data.grey_range must be two whole numbers from 0 to {_LARGEST}, the first one smaller, got {list(values)}"
        )
    if not isinstance(train, ImageFiles):
        raise ValueError("data.grey_range is for 16-bit images in files, but these are in memory; set it to null")
    if not _found(train):
        log.warning("data.grey_range has no effect: no 16-bit image was found")
    return {
        name: dataclasses.replace(split, images=split.images.scaled_from(values))
        if isinstance(split, ImageFiles)
        else split
        for name, split in splits.items()
    }


def _warn(train: ImageFiles) -> None:
    found = _found(train)
    if not found:
        return
    low, high = min(each[0] for each in found), max(each[1] for each in found)
    levels = (high >> 8) - (low >> 8) + 1
    if levels < _FEW and high > low:
        log.warning(
            "16-bit images have grey values from %d to %d in the %d looked at, of which %d of 256 levels are left; "
            "data.grey_range=[%d,%d] scales that range to all levels",
            low, high, len(found), levels, low, high,
        )  # fmt: skip


def _found(train: ImageFiles) -> list[tuple[int, int]]:
    """Smallest and largest value of each 16-bit image among some, evenly spread."""
    places = np.unique(np.linspace(0, len(train) - 1, min(_SAMPLE, len(train))).round().astype(int)).tolist()
    ranges = (train.images.sixteen_bits(i) for i in places)
    return [each for each in ranges if each is not None]
