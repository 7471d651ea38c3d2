"""Images that stay in their files until a batch needs them, and checks of such files."""

import hashlib
import io
import logging
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from alasca_pl.data.arrays import ImageArrays
from alasca_pl.noise.labels import Labels

log = logging.getLogger(__name__)

EXTENSIONS = frozenset(
    [
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ],
)
# Pillow warns beyond this and refuses beyond twice as much; a batch of such images would not fit into memory anyway.
MAX_PIXELS = 89_478_485

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY = frozenset(("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I"))
_CHUNK = 64
_NAMED = 5

T = TypeVar("T")


class ImageError(ValueError):
    """An image cannot be decoded.

    Attributes:
        reason: Why, without the name of the image.
    """

    # One argument, because a data loader raises a worker's errors again from their text alone.
    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class LazyImages(ABC):
    """Images by position, decoded when asked for. Objects can be sent to spawned processes."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, index: npt.NDArray[np.int64]) -> Self:
        """Return the images at the given positions."""

    @abstractmethod
    def name(self, i: int) -> str:
        """Name of an image within the data set."""

    @abstractmethod
    def byte_size(self, i: int) -> int:
        """Size of the encoded image in bytes."""

    @abstractmethod
    def _source(self, i: int) -> str | io.BytesIO:
        """Give what Pillow shall open."""

    def read(self, i: int, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
        """Decode an image, upright, without transparency; of several frames the first.

        Args:
            i: Position.
            mode: ``RGB``, or ``L`` for grey.

        Raises:
            ValueError: If it is missing, empty, truncated, no image, of more than ``MAX_PIXELS`` pixels, or has other
                than whole numbers of at most 16 bits as pixels.
            OSError: If the system refuses to read the file.
        """
        with self._opened(i) as image:
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            whole = _eight_bits(image)
            if whole.mode in ("P", "PA"):
                # A palette may hold transparency per colour, which Pillow drops by way of RGBA only.
                whole = whole.convert("RGBA")
            whole = whole.convert(mode)
            # Tags that said how to turn it must not travel with an image that has been turned.
            whole.info = {}
            return whole if turn is None else whole.transpose(turn)

    def size(self, i: int) -> tuple[int, int]:
        """Width and height of the upright image, from its header.

        Raises:
            ValueError: As ``read``, as far as the header shows it.
            OSError: As ``read``.
        """
        with self._opened(i) as image:
            width, height = image.size
            # A PNG's tags can also stand after the pixels; Pillow would decode the whole file to look for them.
            if image.format == "PNG" and "exif" not in image.info:
                return width, height
            return (height, width) if _orientation(image) >= 5 else (width, height)

    def mode(self, i: int) -> str:
        """Pillow's mode of the image as stored, from its header; errors as in ``size``."""
        with self._opened(i) as image:
            return image.mode

    def fingerprint(self) -> str:
        """SHA-256 over names and sizes in bytes of all images in order, in hexadecimal."""
        content = hashlib.sha256()
        for i in range(len(self)):
            content.update(f"{self.byte_size(i)} {self.name(i)}\0".encode("utf-8", "surrogateescape"))
        return content.hexdigest()

    @contextmanager
    def _opened(self, i: int) -> Iterator[Image.Image]:
        try:
            with Image.open(self._source(i)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS}")
                yield image
        except MemoryError:
            raise
        # Pillow's readers of formats raise whatever they meet in a damaged file.
        except Exception as error:
            reason = self._reason(i, error)
            raise ImageError(f"cannot decode image {self.name(i)!r}: {reason}", reason) from error

    def _reason(self, i: int, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return "the file is missing"
        # Refused by the system, not by Pillow: lacking permission or too many open files are no damage of the image.
        if isinstance(error, OSError) and error.errno is not None:
            raise error
        if isinstance(error, UnidentifiedImageError):
            return "it is no image of a known format" if self.byte_size(i) else "the file is empty"
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            return f"it has more than {MAX_PIXELS} pixels"
        return str(error) or type(error).__name__


class PathImages(LazyImages):
    """Image files below a folder.

    Args:
        root: The folder.
        names: Paths relative to it, as text, or as an array of bytes as ``os.fsencode`` gives them.
    """

    def __init__(self, root: str | Path, names: Sequence[str] | npt.NDArray[np.bytes_]) -> None:
        # Absolute, because workers may start in another folder.
        self.root = str(Path(root).expanduser().absolute())
        if not isinstance(names, np.ndarray):
            # Bytes take a quarter of the memory of numpy's text, and one array is shared or sent as a whole.
            names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: npt.NDArray[np.int64]) -> Self:
        return type(self)(self.root, self.names[index])

    def name(self, i: int) -> str:
        return os.fsdecode(bytes(self.names[i]))

    def path(self, i: int) -> str:
        """Absolute path of an image."""
        return os.path.join(self.root, self.name(i))  # noqa: PTH118  # a Path for each of a million reads is slow

    def byte_size(self, i: int) -> int:
        return Path(self.path(i)).stat().st_size

    def _source(self, i: int) -> str:
        return self.path(i)


@dataclass(frozen=True)
class ImageFiles:
    """Images of one part of a data set, in files.

    Attributes:
        images: N images.
        labels: As given, int64 (N,).
        clean: Labels known to be right, int64 (N,), or None where nobody knows. For measuring only.
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


def check_images(
    parts: Mapping[str, ImageFiles],
    how: Literal["full", "header", "none"] = "full",
    on_corrupt: Literal["error", "skip"] = "error",
    class_names: Sequence[str] = (),
) -> tuple[dict[str, ImageFiles], tuple[str, ...]]:
    """Look for images that cannot be decoded.

    Args:
        parts: Parts by name.
        how: ``full`` decodes every image, ``header`` opens it only, which a truncated one survives, ``none`` does nothing.
        on_corrupt: ``error``, or ``skip`` to leave corrupt images out.
        class_names: For messages.

    Returns:
        The parts without corrupt images, and the names of those.

    Raises:
        ValueError: If there are corrupt images and ``on_corrupt`` is ``error``, if a part has no image left of a class
            that it had, or if an argument is unknown.
        OSError: If the system refuses to read a file.
    """
    if how not in ("full", "header", "none"):
        raise ValueError(f"unknown check of images {how!r}; choose one of full, header, none")
    if on_corrupt not in ("error", "skip"):
        raise ValueError(f"data.on_corrupt is {on_corrupt!r}; choose one of error, skip")
    if how == "none":
        return dict(parts), ()
    corrupt = {part: _corrupt(files.images, how) for part, files in parts.items()}
    found = [(parts[part].images.name(i), reason) for part, bad in corrupt.items() for i, reason in bad]
    if not found:
        return dict(parts), ()
    some = name_some([f"{name!r} ({reason})" for name, reason in found])
    total = sum(len(files) for files in parts.values())
    if on_corrupt == "error":
        raise ValueError(
            f"{len(found)} of {total} images cannot be decoded: {some}; "
            "replace them, or data.on_corrupt=skip leaves them out"
        )
    kept = {}
    for part, files in parts.items():
        keep = np.delete(np.arange(len(files)), [i for i, _ in corrupt[part]])
        kept[part] = files.take(keep)
        lost = np.setdiff1d(files.labels, kept[part].labels)
        if len(lost):
            names = [class_names[k] if k < len(class_names) else str(k) for k in lost.tolist()]
            raise ValueError(
                f"no image of class {name_some(names)} can be decoded in the {part} part: {some}; replace them"
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
    """Look at the sizes of up to ``sample`` images, evenly spread.

    Returns:
        Height and width of the most frequent size (of several the smallest), and whether all are alike.

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

    for _ in _in_threads(decode, len(files), workers):
        pass
    if time.monotonic() - start > 5:
        log.info("decoded %d images to %d x %d in %.0f s", len(files), *size, time.monotonic() - start)
    return ImageArrays(images, files.labels, files.clean)


def cover(image: Image.Image, size: tuple[int, int], name: str = "image") -> Image.Image:
    """Scale an image until it covers ``size`` (height, width) and crop around its centre.

    Raises:
        ValueError: If it is so long and thin that it would have more than ``MAX_PIXELS`` pixels on the way.
    """
    height, width = size
    if image.size == (width, height):
        return image
    # Whole-number arithmetic, so that the shorter side fits exactly and the longer one as torchvision rounds it.
    if width * image.height >= height * image.width:
        scaled = (width, max(height, width * image.height // image.width))
    else:
        scaled = (max(width, height * image.width // image.height), height)
    if scaled[0] * scaled[1] > MAX_PIXELS:
        raise ValueError(
            f"image {name!r} of {image.width} x {image.height} pixels is too long and thin to be scaled to {width} x {height}"
        )
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def unsafe(name: str) -> str | None:
    """Say why a path must not be followed from within a folder, or None if it may.

    Only the text is looked at: links on the way have to be resolved by whoever opens it.
    """
    if not name or "\0" in name:
        return "is empty" if not name else "holds a zero byte"
    if name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "is absolute"
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        return "leads out of its folder"
    return None


def name_some(names: Sequence[str]) -> str:
    """Join the first few of many names for a message."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _corrupt(images: LazyImages, how: str) -> list[tuple[int, str]]:
    def look(chunk: range) -> list[tuple[int, str]]:
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

    return [item for bad in _in_threads(look, len(images), None) for item in bad]


def _in_threads(work: Callable[[range], T], count: int, workers: int | None) -> Iterator[T]:
    # Threads suffice: Pillow decodes without holding Python's lock.
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(work, chunks)


def _spread(count: int, sample: int) -> list[int]:
    if not count:
        raise ValueError("there is no image")
    return np.unique(np.linspace(0, count - 1, min(sample, count)).round().astype(int)).tolist()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # Tags are no part of the picture: one that cannot be read leaves the image as it is.
    except Exception:
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    # Older versions of Pillow open 16 bits of grey as 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}; save it with 8 or 16 bits per channel")
    return image
