"""Shape, memory and normalisation of images."""

import hashlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from alasca_pl.data.decode import decode_all, infer_channels, infer_size
from alasca_pl.data.samples import ImageArrays, ImageFiles, Split

log = logging.getLogger(__name__)

# If sizes differ, the nearest of these common training sizes is used.
_USUAL_SIZES = (28, 32, 64, 224)


def find_shape(
    splits: Mapping[str, Split], image_size: int | Sequence[int] | None, channels: int | None
) -> tuple[tuple[int, int], int, bool]:
    """Choose the shape of the images that are passed to networks.

    Args:
        splits: By name; the training split decides.
        image_size: Height and width, or one number for both, or None to infer it from the images.
        channels: 1 or 3, or None to infer it from the images.

    Returns:
        (height, width), channels, and whether images from files must be resized to it.

    Raises:
        ValueError: If the requested shape is invalid, or images in memory have another one.
    """
    train = splits["train"]
    if isinstance(train, ImageArrays):
        height, width, found = train.images.shape[1:]
        asked = _pair(image_size)
        if (asked is not None and asked != (height, width)) or channels not in (None, found):
            raise ValueError(
                f"the images are {height} x {width} with {found} channel(s); data.image_size and data.channels are for "
                "images from files, set them to null"
            )
        return (height, width), found, False
    if channels not in (None, 1, 3):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
    height, width, alike = infer_size(train)
    for split in splits.values():
        if isinstance(split, ImageFiles):
            other = infer_size(split)
            alike = alike and other == (height, width, True)
    size = _pair(image_size)
    if size is None:
        usual = min(_USUAL_SIZES, key=lambda one: abs(np.log(one / min(height, width))))
        size = (height, width) if alike else (usual, usual)
        if not alike:
            log.info("images differ in size; all are resized to %d x %d; set data.image_size to change this", *size)
    return size, channels or infer_channels(train), not (alike and size == (height, width))


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(one, int) and one >= 1 for one in pair):
        raise ValueError(f"data.image_size must be one or two whole numbers of at least 1, got {size!r}")
    return pair


def load_splits(
    splits: dict[str, Split], size: tuple[int, int], channels: int, loader: str, limit_mb: int, num_workers: int
) -> dict[str, Split]:
    """Decode files into memory if requested, or if they fit.

    Args:
        splits: By name.
        size: Height and width.
        channels: 1 or 3.
        loader: ``arrays``, ``files`` or ``auto``; see ``PreparedData``.
        limit_mb: For ``auto``, in megabytes.
        num_workers: Processes that decode.
    """
    files = {name: split for name, split in splits.items() if isinstance(split, ImageFiles)}
    need = sum(len(split) for split in files.values()) * size[0] * size[1] * channels
    if not files or loader == "files" or (loader == "auto" and need > limit_mb * 1e6):
        return splits
    return splits | {name: decode_all(split, size, channels, num_workers) for name, split in files.items()}


def data_digest(train: Split) -> str:
    """Return a hash that identifies the training images: of pixels, or of file names and sizes."""
    if isinstance(train, ImageFiles):
        return f"files:{train.images.fingerprint()}"
    content = hashlib.sha256(str(train.images.shape).encode())
    content.update(np.ascontiguousarray(train.images).data)
    return f"pixels:{content.hexdigest()}"


def normalisation(
    images: Tensor | None, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Choose the mean and standard deviation that normalise pixels scaled to [0, 1].

    Args:
        images: uint8 (n, C, H, W) to measure on, or None if both are given.
        channels: C.
        mean: One number per channel, or None to measure it.
        std: Likewise.

    Returns:
        Mean and standard deviation, float32 (C,).

    Raises:
        ValueError: If a given list does not fit.
    """
    for what, given in (("mean", mean), ("std", std)):
        if given is None:
            continue
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError(f"data.{what} must be a list with one number per channel or null, got {given!r}")
        if len(given) != channels:
            raise ValueError(f"data.{what} has {len(given)} values, but the images have {channels} channel(s)")
    if images is not None:
        # Integers are summed without rounding, so any order of the sums gives the same constants. Computed from the
        # histogram, because a copy of all pixels as int64 would not fit into memory.
        levels = torch.arange(256, dtype=torch.float64)
        counts = torch.stack(
            [torch.bincount(images[:, c].reshape(-1), minlength=256) for c in range(channels)]
        ).double()
        total = counts.sum(dim=1)
        measured_mean = counts @ levels / total
        measured_std = (counts @ levels**2 / total - measured_mean**2).clamp_min(1.0).sqrt()
    to_use_mean = measured_mean / 255 if mean is None else torch.tensor(mean)
    to_use_std = measured_std / 255 if std is None else torch.tensor(std)
    if not bool((to_use_std > 0).all()):
        raise ValueError(f"data.std must be above 0, got {list(std or [])}")
    return to_use_mean.float(), to_use_std.float()
