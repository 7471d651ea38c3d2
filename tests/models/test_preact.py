"""Pre-activation ResNet-18: size counted by hand, maps, the block's formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.models.network import Network
from alasca_pl.models.preact import PreActBlock, preact_resnet18


def count_by_hand(num_classes: int) -> int:
    """3x3 convolutions have 9 weights per pair of channels, normalisations 2 per channel; neither has a bias."""
    count = 3 * 64 * 9 + 2 * 64
    previous = 64
    for width in (64, 128, 256, 512):
        count += 2 * previous + 9 * previous * width + 2 * width + 9 * width * width
        count += previous * width if previous != width else 0
        count += 2 * (2 * width + 9 * width * width)
        previous = width
    return count + 512 * num_classes + num_classes


def test_its_size():
    assert count_by_hand(10) == 11_171_274
    network = Network(preact_resnet18(), 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_171_274


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_maps_are_as_announced_and_heads_fit(norm: str):
    backbone = preact_resnet18(1, norm)
    maps = backbone(torch.randn(2, 1, 32, 32))
    assert [tuple(each.shape) for each in maps] == [(2, 64, 32, 32), (2, 128, 16, 16), (2, 256, 8, 8), (2, 512, 4, 4)]
    assert (backbone.channels, backbone.reductions) == ((64, 128, 256, 512), (1, 2, 4, 8))
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) == (norm == "batch")
    for channels, reduction, feature_map in zip(backbone.channels[:3], backbone.reductions, maps):
        head = AuxiliaryHead("bottleneck", channels, 8 // reduction, 512, 10)
        assert head.trunk(feature_map).shape == (2, 512, 4, 4)


def test_the_first_convolution_is_normalised_and_activated():
    stem = preact_resnet18().stages[0][:-2]
    assert [type(part) for part in stem] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


def test_the_last_map_is_neither_normalised_nor_activated():
    last = preact_resnet18()(torch.randn(2, 3, 16, 16))[-1]
    assert (last < 0).any()


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 1), (4, 2)])
def test_a_block_normalises_and_activates_first(channels: int, stride: int, generator: torch.Generator):
    block = PreActBlock(4, channels, stride, nn.BatchNorm2d)
    image = torch.randn(3, 4, 6, 6, generator=generator)

    def normalised(value: torch.Tensor) -> torch.Tensor:
        mean, var = value.mean((0, 2, 3), keepdim=True), value.var((0, 2, 3), unbiased=False, keepdim=True)
        return (value - mean) / torch.sqrt(var + 1e-5)

    active = normalised(image).clamp_min(0)
    inner = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    inner = F.conv2d(normalised(inner).clamp_min(0), block.conv2.weight, padding=1)
    plain = (channels, stride) == (4, 1)
    assert (block.shortcut is None) == plain
    shortcut = active if plain else F.conv2d(active, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(image), inner + shortcut, atol=1e-5, rtol=1e-4)


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="'layer'"):
        preact_resnet18(norm="layer")
