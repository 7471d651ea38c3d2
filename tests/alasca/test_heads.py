"""Auxiliary heads: shapes and the parameter counts of the authors' networks."""

import pytest
import torch
from torch import nn

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.models.norms import norm_layer

KINDS = ("bottleneck", "mlp", "mlp_gap_first", "residual", "depthwise")
# Channels and stride of stages 1, 2, 3 of ResNet-34 with CIFAR stem.
STAGES = {1: (64, 8), 2: (128, 4), 3: (256, 2)}


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        # Computed from the shapes in jongwooko/ALASCA for 10 classes.
        ("bottleneck", (1_129_738, 351_498, 171_274)),
        ("mlp", (38_922, 71_690, 137_226)),
        ("residual", (2_695_178, 3_022_858, 3_678_218)),
    ],
)
def test_parameter_counts_are_those_of_the_authors(kind: str, counts: tuple[int, ...], agreement):
    made = [AuxiliaryHead(kind, channels, stride, 512, 10) for channels, stride in STAGES.values()]
    found = [sum(parameter.numel() for parameter in head.parameters()) for head in made]
    agreement(AuxiliaryHead, f"numbers of parameters of the authors' network, kind {kind}", found, counts, atol=0.0)


@pytest.mark.parametrize("stage", STAGES)
def test_parameter_counts_of_the_other_kinds_by_hand(stage: int):
    channels, stride = STAGES[stage]
    linear = 512 * 10 + 10
    gap_first = (channels * 512 + 512) + 2 * 512 + linear
    depthwise = (channels * stride * stride + 2 * channels) + (channels * 512 + 2 * 512) + linear
    for kind, expected in (("mlp_gap_first", gap_first), ("depthwise", depthwise)):
        head = AuxiliaryHead(kind, channels, stride, 512, 10)
        assert sum(parameter.numel() for parameter in head.parameters()) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "stride", "size"), [(6, 4, 8), (8, 2, 4), (5, 1, 3)])
def test_gives_one_row_of_logits_per_image(kind: str, channels: int, stride: int, size: int):
    head = AuxiliaryHead(kind, channels, stride, 16, 7)
    assert head(torch.randn(3, channels, size, size)).shape == (3, 7)


@pytest.mark.parametrize(
    ("kind", "size"), [("bottleneck", 4), ("residual", 4), ("depthwise", 4), ("mlp", 32), ("mlp_gap_first", 1)]
)
def test_strided_kinds_reduce_to_the_size_of_the_last_stage(kind: str, size: int):
    trunk = AuxiliaryHead(kind, 4, 8, 16, 10).trunk
    assert trunk(torch.randn(2, 4, 32, 32)).shape == (2, 16, size, size)


def test_bottleneck_has_a_quarter_of_the_width_in_its_middle_and_biases():
    convolutions = [m for m in AuxiliaryHead("bottleneck", 64, 8, 512, 10).modules() if isinstance(m, nn.Conv2d)]
    assert [
        (c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.bias is not None) for c in convolutions
    ] == [
        (64, 128, 1, 1, True),
        (128, 128, 8, 8, True),
        (128, 512, 1, 1, True),
    ]


def test_mlp_pools_after_its_convolution_and_gap_first_before(generator: torch.Generator):
    """Shuffling pixels leaves both alone; but only pooling first is blind to changes that keep the mean."""
    image = torch.randn(2, 3, 4, 4, generator=generator)
    flattened = image.mean((2, 3), keepdim=True).expand_as(image)
    shuffled = image.flatten(2)[..., torch.randperm(16, generator=generator)].view_as(image)
    for kind, blind in (("mlp", False), ("mlp_gap_first", True)):
        head = AuxiliaryHead(kind, 3, 2, 8, 5).eval()
        torch.testing.assert_close(head(shuffled), head(image))
        assert torch.allclose(head(flattened), head(image), atol=1e-5) == blind


@pytest.mark.parametrize("kind", KINDS)
def test_with_group_norm_a_sample_does_not_depend_on_its_batch(kind: str, generator: torch.Generator):
    head = AuxiliaryHead(kind, 4, 2, 16, 3, norm=norm_layer("group"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in head.modules())
    image = torch.randn(3, 4, 6, 6, generator=generator)
    torch.testing.assert_close(head(image)[:1], head(image[:1]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_all_parameters_and_the_map(kind: str, generator: torch.Generator):
    head = AuxiliaryHead(kind, 4, 2, 8, 3)
    image = torch.randn(5, 4, 6, 6, generator=generator, requires_grad=True)
    head(image).square().sum().backward()
    assert image.grad.any()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_an_unknown_kind_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"'bottelneck'.*bottleneck, mlp, mlp_gap_first, residual, depthwise"):
        AuxiliaryHead("bottelneck", 4, 2, 8, 3)
