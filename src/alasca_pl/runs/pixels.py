"""Pixels that a user gives from Python."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.errors import UserError
from alasca_pl.data.samples import as_images

Pixels = Tensor | npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def as_pixels(images: Pixels, channels: int, scaled: bool = False) -> Tensor:
    """Check pixels and bring them to the range and layout of training.

    Args:
        images: A tensor (n, C, H, W) or an array (n, H, W[, C]): uint8 with values 0 to 255, or with ``scaled`` floats in [0, 1].
        channels: C of the run.
        scaled: Whether they are floats in [0, 1].

    Returns:
        Pixels 0 to 255, (n, C, H, W), uint8, or float32 with ``scaled``.

    Raises:
        UserError: If type, shape or range is another.

    Example:
        >>> as_pixels(np.full((1, 1, 2), 0.5), channels=1, scaled=True)
        tensor([[[[127.5000, 127.5000]]]])
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise UserError(f"images are of type {type(images).__name__}; give a tensor or a numpy array")
    is_float = images.is_floating_point() if isinstance(images, Tensor) else images.dtype.kind == "f"
    is_bytes = images.dtype in (torch.uint8, np.uint8)
    if not (is_float if scaled else is_bytes):
        raise UserError(
            f"images are of type {images.dtype}; give pixels 0 to 255 as uint8, or floats in [0, 1] with scaled=True"
        )
    if isinstance(images, np.ndarray):
        images = _of_array(images)
    if images.ndim != 4 or images.shape[1] != channels:
        raise UserError(
            f"images have shape {tuple(images.shape)}; the run takes tensors (n, {channels}, H, W) or arrays "
            f"(n, H, W, {channels})"
        )
    if not scaled:
        return images
    images = images.to(torch.float32)
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"images have values from {images.min():g} to {images.max():g}; with scaled=True they must be in [0, 1]"
        )
    return images * 255


def _of_array(images: np.ndarray) -> Tensor:
    if images.dtype == np.uint8:
        try:
            images = as_images(images, "images")
        except ValueError as error:
            raise UserError(str(error)) from error
    elif images.ndim == 3:
        images = images[..., None]
    # Arrays that Pillow gives cannot be written to, which torch would complain of.
    tensor = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return tensor.movedim(-1, 1) if tensor.ndim == 4 else tensor
