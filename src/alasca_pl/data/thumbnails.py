"""Small pictures of samples, for pages."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from alasca_pl.data.samples import ImageArrays, Split

# Images up to this size are kept as they are, pixel by pixel.
_SMALL = 64


def thumbnails(split: Split, rows: Sequence[int], channels: int, size: int = 160) -> list[tuple[str, bool]]:
    """Pictures as data URIs.

    Args:
        split: The samples.
        rows: Positions in the split.
        channels: 1 (grey) or 3.
        size: Longest side; images of at most 64 pixels keep their size.

    Returns:
        For each row the URI, and whether the image is small and should be shown enlarged.

    Raises:
        ValueError: If an image cannot be decoded.
    """
    return [_encoded(thumbnail(split, row, channels, size)) for row in rows]


def thumbnail(split: Split, row: int, channels: int, size: int = 160) -> Image.Image:
    """A small picture.

    Args:
        split: The samples.
        row: Position in the split.
        channels: 1 (grey) or 3.
        size: Longest side; images of at most 64 pixels keep their size.

    Raises:
        ValueError: If the image cannot be decoded.
    """
    if isinstance(split, ImageArrays):
        pixels = split.images[row]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    else:
        image = split.images.read(row, "L" if channels == 1 else "RGB")
    if max(image.size) > _SMALL:
        image.thumbnail((size, size), Image.Resampling.BILINEAR)
    return image


def _encoded(image: Image.Image) -> tuple[str, bool]:
    small = max(image.size) <= _SMALL
    file = io.BytesIO()
    if small:
        image.save(file, format="PNG")
    else:
        image.save(file, format="JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", small
