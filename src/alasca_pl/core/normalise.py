"""Normalisation of pixels for networks."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalise:
    """Normalise pixels 0 to 255 to about mean 0 and standard deviation 1 per channel, float32.

    The only implementation: an opened run gives the same bits as training did.

    Args:
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise, above 0.

    Example:
        >>> Normalise([0.0], [0.5])(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).item()
        2.0
    """

    def __init__(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        mean, std = torch.as_tensor(mean), torch.as_tensor(std)
        # (x / 255 - mean) / std as one product and sum.
        self._scale = (1.0 / (255.0 * std)).view(1, -1, 1, 1)
        self._shift = (-mean / std).view(1, -1, 1, 1)

    def to(self, device: torch.device) -> "Normalise":
        """Move the constants, in place."""
        self._scale, self._shift = self._scale.to(device), self._shift.to(device)
        return self

    def __call__(self, image: Tensor) -> Tensor:
        """Normalise images (B, C, H, W), which are not changed."""
        # A copy, even if the images are float already.
        return image.to(torch.float32, copy=True).mul_(self._scale).add_(self._shift)
