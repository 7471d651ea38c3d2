"""A slowly moving copy of a network, whose predictions are steadier."""

import copy

import torch
from torch import Tensor, nn

from alasca_pl.core.types import NetworkOutput


class WeightAverage(nn.Module):
    """Moving average of a network's parameters; buffers are copied.

    Args:
        network: The network to follow; the copy starts equal to it.
        momentum: Share of the old average that is kept at an update, in [0, 1).

    Raises:
        ValueError: If ``momentum`` is outside [0, 1).
    """

    def __init__(self, network: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}; 0 follows the network at once")
        self.momentum = momentum
        self.average = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network; called after each optimiser step."""
        for weight, new_weight in zip(self.average.parameters(), network.parameters()):
            weight.lerp_(new_weight, 1.0 - self.momentum)
        for buffer, new_buffer in zip(self.average.buffers(), network.buffers()):
            buffer.copy_(new_buffer)

    @torch.no_grad()
    def forward(self, image: Tensor) -> NetworkOutput:
        """Classify images (B, C, H, W) with the averaged weights in evaluation mode, without gradient."""
        self.average.eval()
        return self.average(image)
