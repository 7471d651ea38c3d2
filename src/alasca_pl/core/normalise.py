"""Pixels as networks take them."""

import torch
from torch import Tensor


class Normalise:
    """From pixels 0 to 255 to numbers of about mean 0 and standard deviation 1 per channel, float32.

    Args:
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        # (x / 255 - mean) / std as one product and sum.
        self._scale = (1.0 / (255.0 * std)).view(1, -1, 1, 1)
        self._shift = (-mean / std).view(1, -1, 1, 1)

    def to(self, device: torch.device) -> "Normalise":
        """Move the constants, in place."""
        self._scale, self._shift = self._scale.to(device), self._shift.to(device)
        return self

    def __call__(self, image: Tensor) -> Tensor:
        return image.float().mul_(self._scale).add_(self._shift)
