"""Global average pooling whose gradient has the layout of the feature map."""

import torch
from torch import Tensor, nn


class GlobalAverage(nn.Module):
    """Averages over all positions of a feature map.

    Values and gradients are those of ``nn.AdaptiveAvgPool2d(1)``. The gradient of that layer is contiguous whatever the map's
    memory format is, and operations on two formats at once, such as the backward pass of a ReLU, are many times slower on a CPU.

    Example:
        >>> import torch
        >>> GlobalAverage()(torch.tensor([[[[1.0, 3.0]], [[0.0, 1.0]]]])).flatten()
        tensor([2.0000, 0.5000])
    """

    def forward(self, feature_map: Tensor) -> Tensor:
        """Average maps (B, C, H, W) in either memory format to (B, C, 1, 1)."""
        if feature_map.is_contiguous(memory_format=torch.channels_last):
            return feature_map.permute(0, 2, 3, 1).mean(dim=(1, 2))[:, :, None, None]
        return feature_map.mean(dim=(2, 3), keepdim=True)
