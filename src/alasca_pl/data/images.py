"""Read one image: from its file, upright, in grey or colour, scaled and cropped."""

import copy
import hashlib
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

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
# Pillow warns above this limit and fails above twice as much; a batch of such images would not fit into memory anyway.
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


class ImageError(ValueError):
    """An image cannot be decoded.

    Attributes:
        reason: Why, without the name of the image.
    """

    # One argument, because a data loader raises a worker's errors again from their text alone.
    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message

    @classmethod
    def text_of(cls, error: Exception) -> str:
        """The message alone; from a worker it comes with that process's traceback in front."""
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return last.removeprefix(f"{cls.__module__}.{cls.__qualname__}: ")


class LazyImages(ABC):
    """Images by position, decoded on demand. Objects can be sent to spawned processes.

    Attributes:
        grey_range: Values of 16-bit images that become 0 and 255; values beyond them are cut off.
    """

    grey_range: tuple[int, int] = (0, 65535)

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
        """Return what Pillow opens."""

    def scaled_from(self, grey_range: tuple[int, int]) -> Self:
        """Return the same images with another ``grey_range``."""
        changed = copy.copy(self)
        changed.grey_range = grey_range
        return changed

    def sixteen_bits(self, i: int) -> tuple[int, int] | None:
        """Smallest and largest value of an image of 16 bits; None of another, or if it cannot be read."""
        try:
            with self._opened(i) as image:
                if not _has_sixteen_bits(image):
                    return None
                values = np.asarray(image).astype(np.int32)
                return int(values.min()), int(values.max())
        except ImageError:
            return None

    def read(self, i: int, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
        """Decode an image, upright, without transparency; of several frames only the first.

        Args:
            i: Position.
            mode: ``RGB``, or ``L`` for grey.

        Raises:
            ValueError: If it is missing, empty, truncated, not an image, has more than ``MAX_PIXELS`` pixels, or pixels
                other than whole numbers of at most 16 bits.
            OSError: If the operating system cannot read the file.
        """
        with self._opened(i) as image:
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            whole = _eight_bits(image, self.grey_range)
            if whole.mode in ("P", "PA"):
                # A palette may hold transparency per colour, which Pillow drops only when it converts through RGBA.
                whole = whole.convert("RGBA")
            whole = whole.convert(mode)
            # An image that has been rotated must not keep the tags that describe its rotation.
            whole.info = {}
            return whole if turn is None else whole.transpose(turn)

    def size(self, i: int) -> tuple[int, int]:
        """Width and height of the upright image, from its header.

        Raises:
            ValueError: As for ``read``, as far as the header shows it.
            OSError: As for ``read``.
        """
        with self._opened(i) as image:
            width, height = image.size
            # A PNG's tags can follow the pixels; Pillow would decode the whole file to find them.
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
            source = self._source(i)
            if isinstance(source, str):
                mode = os.stat(source).st_mode  # noqa: PTH116
                # A pipe or a device would be waited for without end; what a folder is the system says.
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise ValueError("it is no regular file")
            with Image.open(source) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS}")
                yield image
        except MemoryError:
            raise
        # Pillow's readers raise errors of many types for a damaged file.
        except Exception as error:
            reason = self._reason(i, error)
            raise ImageError(f"cannot decode image {self.name(i)!r}: {reason}", reason) from error

    def _reason(self, i: int, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return "the file is missing"
        # An error of the system and not of Pillow: missing permission or too many open files do not mean a damaged
        # image.
        if isinstance(error, OSError) and error.errno is not None:
            raise error
        if isinstance(error, UnidentifiedImageError):
            return "it is not an image of a known format" if self.byte_size(i) else "the file is empty"
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
        taken = copy.copy(self)
        taken.names = self.names[index]
        return taken

    def name(self, i: int) -> str:
        return os.fsdecode(bytes(self.names[i]))

    def path(self, i: int) -> str:
        """Absolute path of an image."""
        return os.path.join(self.root, self.name(i))  # noqa: PTH118  # a Path for each of a million reads is slow

    def byte_size(self, i: int) -> int:
        return Path(self.path(i)).stat().st_size

    def _source(self, i: int) -> str:
        return self.path(i)


def cover(image: Image.Image, size: tuple[int, int], name: str = "image") -> Image.Image:
    """Scale an image until it covers ``size`` (height, width) and crop around its centre.

    Raises:
        ValueError: If it is so long and thin that the scaled image would have more than ``MAX_PIXELS`` pixels.
    """
    height, width = size
    if image.size == (width, height):
        return image
    # Integer arithmetic, so that the shorter side fits exactly and the longer one is rounded as in torchvision.
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


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # Tags are not part of the picture: the image is not changed if one cannot be read.
    except Exception:
        return 1


def _has_sixteen_bits(image: Image.Image) -> bool:
    # Older versions of Pillow open 16 bits of grey as 32.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _eight_bits(image: Image.Image, grey_range: tuple[int, int]) -> Image.Image:
    if _has_sixteen_bits(image):
        values, (low, high) = np.asarray(image).astype(np.int32), grey_range
        if grey_range == LazyImages.grey_range:
            return Image.fromarray((values >> 8).astype(np.uint8))
        # Rounded to the nearest level.
        levels = (2 * 255 * (values.clip(low, high) - low) + (high - low)) // (2 * (high - low))
        return Image.fromarray(levels.astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}; save it with 8 or 16 bits per channel")
    return image
