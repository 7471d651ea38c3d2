"""ResNet-18 with pre-activation blocks, the network of DivideMix and ELR+ for CIFAR."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.models.backbones import StagedBackbone
from alasca_pl.models.norms import norm_layer


class PreActBlock(nn.Module):
    """Basic block that normalises and activates before each convolution.

    Args:
        in_channels: Channels of the map.
        channels: Channels of the output.
        stride: Factor by which the map becomes smaller.
        norm: Makes a normalisation layer for a number of channels.

    Source: He et al., ECCV 2016, in the form of LiJunnan1992/DivideMix and shengliu66/ELR.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H / stride, W / stride)."""
        active = F.relu(self.norm1(feature_map))
        # Both kinds of shortcut start from the activated map, as in the code of both methods; He et al. use the map
        # itself if the shortcut has no convolution.
        shortcut = active if self.shortcut is None else self.shortcut(active)
        return self.conv2(F.relu(self.norm2(self.conv1(active)))) + shortcut


def preact_resnet18(in_channels: int = 3, norm: str = "batch") -> StagedBackbone:
    """ResNet-18 of pre-activation blocks for images of about 32 pixels.

    The output of the first convolution is normalised and activated, that of the last block is not.

    Convolutions are initialised by torch's default rule.

    Args:
        in_channels: Channels of the images.
        norm: Normalisation, ``batch`` or ``group``.

    Raises:
        ValueError: If ``norm`` is unknown.

    Source: LiJunnan1992/DivideMix, shengliu66/ELR.

    References:
        He et al.: Identity Mappings in Deep Residual Networks. ECCV 2016. https://arxiv.org/abs/1603.05027

    Example:
        >>> preact_resnet18().reductions
        (1, 2, 4, 8)
    """
    make_norm = norm_layer(norm)
    channels = (64, 128, 256, 512)
    stages: list[nn.Module] = []
    previous = 64
    for number, current in enumerate(channels):
        stem = [] if number else [nn.Conv2d(in_channels, 64, 3, padding=1, bias=False), make_norm(64), nn.ReLU()]
        first = PreActBlock(previous, current, 2 if number else 1, make_norm)
        stages.append(nn.Sequential(*stem, first, PreActBlock(current, current, 1, make_norm)))
        previous = current
    return StagedBackbone(stages, channels, (1, 2, 4, 8))
