"""Decode and check many images."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np

from alasca_pl.core.progress import tracked
from alasca_pl.data.images import ImageError, LazyImages, cover
from alasca_pl.data.names import name_some
from alasca_pl.data.samples import ImageArrays, ImageFiles

log = logging.getLogger(__name__)
_GREY = frozenset(("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I"))
_CHUNK = 64

T = TypeVar("T")


def check_images(
    splits: Mapping[str, ImageFiles],
    how: Literal["full", "header", "none"] = "full",
    on_corrupt: Literal["error", "skip"] = "error",
    class_names: Sequence[str] = (),
) -> tuple[dict[str, ImageFiles], tuple[str, ...]]:
    """Find images that cannot be decoded.

    Args:
        splits: Images by name of the split.
        how: ``full`` decodes every image, ``header`` only opens it and does not detect truncated ones, ``none`` does
            nothing.
        on_corrupt: ``error``, or ``skip`` to leave corrupt images out.
        class_names: For messages.

    Returns:
        The splits without corrupt images, and the names of those.

    Raises:
        ValueError: If there are corrupt images and ``on_corrupt`` is ``error``, if a split has no image left of a class
            that it had, or if an argument is unknown.
        OSError: If the operating system cannot read a file.
    """
    if how not in ("full", "header", "none"):
        raise ValueError(f"unknown check of images {how!r}; choose one of full, header, none")
    if on_corrupt not in ("error", "skip"):
        raise ValueError(f"data.on_corrupt is {on_corrupt!r}; choose one of error, skip")
    if how == "none":
        return dict(splits), ()
    corrupt = {split: find_corrupt(files.images, how) for split, files in splits.items()}
    found = [(splits[split].images.name(i), reason) for split, bad in corrupt.items() for i, reason in bad]
    if not found:
        return dict(splits), ()
    some = name_some([f"{name!r} ({reason})" for name, reason in found])
    total = sum(len(files) for files in splits.values())
    if on_corrupt == "error":
        raise ValueError(
            f"{len(found)} of {total} images cannot be decoded: {some}; "
            "replace them, or set data.on_corrupt=skip to leave them out"
        )
    kept = {}
    for split, files in splits.items():
        keep = np.delete(np.arange(len(files)), [i for i, _ in corrupt[split]])
        kept[split] = files.take(keep)
        lost = np.setdiff1d(files.labels, kept[split].labels)
        if len(lost):
            names = [class_names[k] if k < len(class_names) else str(k) for k in lost.tolist()]
            raise ValueError(
                f"no image of class {name_some(names)} can be decoded in the {split} split: {some}; replace them"
            )
    log.warning("left out %d of %d images that cannot be decoded: %s", len(found), total, some)
    return kept, tuple(name for name, _ in found)


def infer_channels(files: ImageFiles, sample: int = 1000) -> Literal[1, 3]:
    """Return 1 if all of up to ``sample`` images, evenly spread, are stored in grey, else 3.

    Raises:
        ValueError: If one of them cannot be opened.
    """
    return 1 if all(files.images.mode(i) in _GREY for i in _spread(len(files), sample)) else 3


def infer_size(files: ImageFiles, sample: int = 1000) -> tuple[int, int, bool]:
    """Infer the size from up to ``sample`` images, evenly spread.

    Returns:
        Height and width of the most frequent size (the smallest if there are several), and whether all are equal.

    Raises:
        ValueError: If one of them cannot be opened.
    """
    sizes = Counter(files.images.size(i) for i in _spread(len(files), sample))
    width, height = min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
    return height, width, len(sizes) == 1


def decode_all(files: ImageFiles, size: tuple[int, int], channels: int, workers: int | None = None) -> ImageArrays:
    """Decode all images into one array.

    An image of another size is scaled, bilinear with antialiasing as torchvision's ``Resize`` does it, until it covers
    ``size``, and cropped around its centre.

    Args:
        files: The images.
        size: Height and width.
        channels: 1 or 3.
        workers: Number of threads, or None for one per core. The result does not depend on it.

    Raises:
        ValueError: If an image cannot be decoded, or ``size`` or ``channels`` is out of range.
    """
    if channels not in (1, 3):
        raise ValueError(f"images have 1 (grey) or 3 (RGB) channels, got {channels}")
    if min(size) < 1:
        raise ValueError(f"images must have at least 1 x 1 pixels, got {size[0]} x {size[1]}")
    mode: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    images = np.empty((len(files), *size, channels), dtype=np.uint8)
    start = time.monotonic()

    def decode(chunk: range) -> None:
        for i in chunk:
            image = cover(files.images.read(i, mode), size, files.images.name(i))
            images[i] = np.asarray(image).reshape(*size, channels)

    for _ in _in_threads(decode, len(files), workers, "decoding images"):
        pass
    if time.monotonic() - start > 5:
        log.info("decoded %d images to %d x %d in %.0f s", len(files), *size, time.monotonic() - start)
    return ImageArrays(images, files.labels, files.clean)


def find_corrupt(images: LazyImages, how: Literal["full", "header"] = "full") -> list[tuple[int, str]]:
    """Position and reason of each image that cannot be decoded; see ``check_images``."""

    def check(chunk: range) -> list[tuple[int, str]]:
        bad = []
        for i in chunk:
            try:
                if how == "full":
                    images.read(i)
                else:
                    images.size(i)
            except ImageError as error:
                bad.append((i, error.reason))
        return bad

    return [item for bad in _in_threads(check, len(images), None, "checking images") for item in bad]


def _in_threads(work: Callable[[range], T], count: int, workers: int | None, what: str) -> Iterator[T]:
    # Threads suffice: Pillow releases Python's lock while it decodes.
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, workers)) as pool:
        done = zip(chunks, pool.map(work, chunks))
        for _, result in tracked(done, what, count, lambda pair: len(pair[0])):
            yield result


def _spread(count: int, sample: int) -> list[int]:
    if not count:
        raise ValueError("there are no images")
    return np.unique(np.linspace(0, count - 1, min(sample, count)).round().astype(int)).tolist()
