"""Global average pooling against torch's layer, in both layouts."""

import pytest
import torch
from torch import nn

from alasca_pl.core.pooling import GlobalAverage

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 7, 4, 4), (2, 3, 1, 6), (1, 1, 3, 2), (3, 4, 1, 1)])
def test_values_and_gradients_are_those_of_torch_s_layer(shape, layout, generator):
    values = torch.randn(shape, generator=generator).contiguous(memory_format=layout)
    weight = torch.randn(shape[:2], generator=generator)
    results = []
    for pool in (nn.AdaptiveAvgPool2d(1), GlobalAverage()):
        feature_map = values.clone().requires_grad_()
        pooled = pool(feature_map)
        assert pooled.shape == (*shape[:2], 1, 1)
        (pooled.flatten(1) * weight).sum().backward()
        results.append((pooled, feature_map.grad))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_has_the_layout_of_the_map(layout):
    feature_map = torch.ones(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    # The layout that the backward pass works with; a leaf's own gradient would be given the leaf's.
    (gradient,) = torch.autograd.grad(GlobalAverage()(feature_map).sum(), feature_map)
    assert gradient.is_contiguous(memory_format=layout)
