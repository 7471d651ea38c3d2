"""Auxiliary classifiers: small networks that classify from an intermediate feature map."""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from alasca_pl.core.pooling import GlobalAverage

HeadKind = Literal["bottleneck", "mlp", "mlp_gap_first", "residual", "depthwise"]
Norm = Callable[[int], nn.Module]


def _conv_norm_relu(convolution: nn.Conv2d, norm: Norm) -> list[nn.Module]:
    return [convolution, norm(convolution.out_channels), nn.ReLU(inplace=True)]


def _bottleneck(channels: int, stride: int, width: int, norm: Norm) -> list[nn.Module]:
    # Convolutions keep their bias although a normalisation follows, as in the authors' code; the parameter counts
    # agree.
    middle = max(1, width // 4)
    return [
        *_conv_norm_relu(nn.Conv2d(channels, middle, 1), norm),
        *_conv_norm_relu(nn.Conv2d(middle, middle, stride, stride=stride), norm),
        *_conv_norm_relu(nn.Conv2d(middle, width, 1), norm),
    ]


def _mlp(channels: int, stride: int, width: int, norm: Norm) -> list[nn.Module]:
    return _conv_norm_relu(nn.Conv2d(channels, width, 1, bias=False), norm)


def _mlp_gap_first(channels: int, stride: int, width: int, norm: Norm) -> list[nn.Module]:
    # On a 1 x 1 map a 1 x 1 convolution is a linear layer, so the usual normalisation fits.
    return [GlobalAverage(), *_conv_norm_relu(nn.Conv2d(channels, width, 1), norm)]


def _residual(channels: int, stride: int, width: int, norm: Norm) -> list[nn.Module]:
    shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False), norm(width))
    return [BasicBlock(channels, width, stride, shortcut, norm_layer=norm)]


def _depthwise(channels: int, stride: int, width: int, norm: Norm) -> list[nn.Module]:
    per_channel = nn.Conv2d(channels, channels, stride, stride=stride, groups=channels, bias=False)
    return [*_conv_norm_relu(per_channel, norm), *_mlp(channels, 1, width, norm)]


_TRUNKS: dict[str, Callable[[int, int, int, Norm], list[nn.Module]]] = {
    "bottleneck": _bottleneck,
    "mlp": _mlp,
    "mlp_gap_first": _mlp_gap_first,
    "residual": _residual,
    "depthwise": _depthwise,
}


class AuxiliaryHead(nn.Module):
    """A classifier on a feature map: a trunk, global average pooling, a linear layer.

    Args:
        kind: ``bottleneck`` (the authors' default: 1x1, strided, 1x1 convolutions), ``mlp`` (1x1 convolution at full
            resolution), ``mlp_gap_first`` (pooling before it), ``residual`` (one basic block) or ``depthwise``
            (depthwise separable, as in the MobileNet paper that the ALASCA paper cites).
        channels: Channels of the feature map.
        stride: How much smaller the main network's last map is; the strided kinds reduce by it.
        width: Channels before the linear layer.
        num_classes: K.
        norm: Makes a normalisation layer for a number of channels.

    Raises:
        ValueError: If ``kind`` is unknown.

    Source: section 4 of the ALASCA paper; shapes from jongwooko/ALASCA.

    References:
        Ko, Yi and Yun: A Gift from Label Smoothing: Robust Training with Adaptive Label Smoothing via Auxiliary Classifier
        under Label Noise. AAAI 2023. https://arxiv.org/abs/2206.07277
        Code: jongwooko/ALASCA@a47249d

    Example:
        >>> import torch
        >>> head = AuxiliaryHead("bottleneck", channels=64, stride=8, width=512, num_classes=10)
        >>> head(torch.zeros(2, 64, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        kind: HeadKind,
        channels: int,
        stride: int,
        width: int,
        num_classes: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if kind not in _TRUNKS:
            raise ValueError(f"unknown auxiliary head {kind!r}; choose one of {', '.join(get_args(HeadKind))}")
        self.trunk = nn.Sequential(*_TRUNKS[kind](channels, stride, width, norm))
        self.pool = GlobalAverage()
        self.linear = nn.Linear(width, num_classes)

    def features(self, feature_map: Tensor) -> Tensor:
        """Turn a feature map (B, C, H, W) into the input (B, width) of the linear layer."""
        return self.pool(self.trunk(feature_map)).flatten(1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Classify a feature map (B, C, H, W) into logits (B, K)."""
        return self.linear(self.features(feature_map))
