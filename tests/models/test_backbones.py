"""Trunks: published parameter counts, sizes of their maps, errors that name the value."""

import pytest
import torch
from torch import nn

from alasca_pl.models.backbones import _RESNETS, Backbone, TimmBackbone, small_resnet, torchvision_resnet
from alasca_pl.models.network import Network
from alasca_pl.models.timm_names import _names, timm_problem


def assert_maps_are_as_announced(backbone: Backbone, channels: int, size: int) -> list[torch.Size]:
    maps = backbone.eval()(torch.zeros(1, channels, size, size))
    expected = [(1, c, size // r, size // r) for c, r in zip(backbone.channels, backbone.reductions, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    return [m.shape for m in maps]


@pytest.mark.parametrize(("num_classes", "count"), [(10, 21_282_122), (100, 21_328_292)])
def test_resnet34_with_cifar_stem_has_the_published_size(num_classes: int, count: int):
    network = Network(torchvision_resnet("resnet34"), num_classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_resnet34_with_cifar_stem_has_maps_of_32_16_8_and_4():
    backbone = torchvision_resnet("resnet34")
    assert [len(stage) for stage in backbone.stages[1:]] == [4, 6, 3]
    shapes = assert_maps_are_as_announced(backbone, 3, 32)
    assert [shape[-1] for shape in shapes] == [32, 16, 8, 4]
    assert backbone.channels == (64, 128, 256, 512)


@pytest.mark.parametrize(
    ("name", "stem", "channels", "size"),
    [
        ("resnet18", "imagenet", 3, 64),
        ("resnet18", "imagenet", 1, 64),
        ("resnet18", "cifar", 1, 16),
        ("resnet50", "cifar", 3, 8),
    ],
)
def test_torchvision_maps_are_as_announced(name: str, stem: str, channels: int, size: int):
    backbone = torchvision_resnet(name, in_channels=channels, stem=stem)
    assert_maps_are_as_announced(backbone, channels, size)
    assert backbone.channels[-1] == (2048 if name == "resnet50" else 512)


def test_imagenet_stem_pools_and_cifar_stem_does_not():
    assert torchvision_resnet("resnet18", stem="imagenet").reductions == (4, 8, 16, 32)
    assert torchvision_resnet("resnet18", stem="cifar").reductions == (1, 2, 4, 8)
    assert not any(isinstance(m, nn.MaxPool2d) for m in torchvision_resnet("resnet18").modules())


def test_names_of_resnets_are_those_of_torchvision():
    from torchvision.models import list_models, resnet

    assert set(_RESNETS) == {name for name in list_models() if hasattr(resnet, name)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet35"}, "'resnet35'"),
        ({"name": "squeezenet1_1"}, "no ResNet 'squeezenet1_1'; .*model=timm for other families"),
        ({"name": "resnet18", "stem": "cifra"}, "'cifra'.*cifar, imagenet"),
        ({"name": "resnet18", "stem": "cifar", "pretrained": True}, "stem cifar"),
        ({"name": "resnet18", "stem": "imagenet", "in_channels": 1, "pretrained": True}, "1 channels"),
        ({"name": "resnet999", "stem": "imagenet", "pretrained": True}, "'resnet999'"),
    ],
)
def test_torchvision_mistakes_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        torchvision_resnet(**options)


@pytest.mark.parametrize(
    ("width", "blocks", "num_stages", "norm"), [(4, 1, 3, "batch"), (6, 2, 2, "group"), (3, 1, 1, "batch")]
)
def test_small_resnet_maps_are_as_announced(width: int, blocks: int, num_stages: int, norm: str):
    backbone = small_resnet(2, width, blocks, num_stages, norm)
    assert backbone.channels == tuple(width * 2**stage for stage in range(num_stages))
    assert_maps_are_as_announced(backbone, 2, 8)
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) == (norm == "batch")


def test_small_resnet_with_group_norm_treats_samples_alone(generator: torch.Generator):
    backbone = small_resnet(1, 4, norm="group")
    image = torch.randn(3, 1, 8, 8, generator=generator)
    torch.testing.assert_close(backbone(image)[-1][:1], backbone(image[:1])[-1])


@pytest.mark.parametrize("name", ["width", "blocks", "num_stages"])
def test_small_resnet_names_counts_below_one(name: str):
    with pytest.raises(ValueError, match=f"{name}.*0"):
        small_resnet(**{name: 0})


@pytest.mark.parametrize(("name", "channels"), [("convnext_atto", 3), ("test_resnet", 1)])
def test_timm_maps_are_as_announced(name: str, channels: int):
    pytest.importorskip("timm")
    backbone = TimmBackbone(name, in_channels=channels)
    assert_maps_are_as_announced(backbone, channels, 64)
    network = Network(backbone, 5).eval()
    assert network(torch.zeros(2, channels, 64, 64)).logits.shape == (2, 5)


def test_timm_gives_the_maps_asked_for():
    pytest.importorskip("timm")
    backbone = TimmBackbone("test_resnet", out_indices=[1, 3])
    assert backbone.reductions == (4, 16)
    assert_maps_are_as_announced(backbone, 3, 64)


@pytest.mark.parametrize("size", [16, 32])
def test_timm_maps_have_channels_second_also_if_map_and_channels_are_of_one_size(size: int):
    """Swin puts channels last; with images of 32 and patches of 4 its first map is 8 x 8 with 8 channels."""
    pytest.importorskip("timm")
    tiny = {"img_size": size, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1)}
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", out_indices=(0, 1), options=tiny).eval()
    image = torch.rand(2, 3, size, size)
    for channels_second, channels_last in zip(backbone(image), backbone.trunk(image), strict=True):
        torch.testing.assert_close(channels_second, channels_last.permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["resnet34x", "no_such_model", ""])
def test_timm_names_an_unknown_model(name: str):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=f"'{name}'"):
        TimmBackbone(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet_50", "resnet50"),
        ("ResNet50", "resnet50"),
        ("vit", "vit_base_patch16_224"),
        ("efficientnet", "efficientnet_b0"),
        ("convnext-tiny", "convnext_tiny"),
        ("resnt50", "resnet50"),
    ],
)
def test_timm_names_the_model_that_was_meant(name: str, meant: str):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=rf"timm has no model '{name}'; similar: .*\b{meant}\b"):
        TimmBackbone(name)


def test_names_read_from_timm_s_source_are_those_that_it_knows():
    timm = pytest.importorskip("timm")
    listed, former = _names()
    assert set(listed) == set(timm.list_models(exclude_filters=list(former)))
    assert all(timm.is_model(name) for name in former)
    assert timm_problem("resnet18.a1_in1k", "x") is None


def test_modules_of_a_timm_model_can_be_the_stages(generator: torch.Generator):
    timm = pytest.importorskip("timm")
    backbone = TimmBackbone("test_resnet", in_channels=1, modules=["layer2", "layer4"]).eval()
    assert_maps_are_as_announced(backbone, 1, 64)
    reference = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    reference.load_state_dict(backbone.trunk.state_dict())
    image = torch.randn(2, 1, 64, 64, generator=generator)
    torch.testing.assert_close(backbone(image)[-1], reference.eval().forward_features(image))
    assert not any(module._forward_hooks for module in backbone.modules())


def test_inception_resnet_v2_has_the_authors_stages():
    pytest.importorskip("timm")
    with torch.device("meta"):
        backbone = TimmBackbone("inception_resnet_v2", modules=["repeat", "repeat_1", "block8", "conv2d_7b"])
    assert backbone.channels == (320, 1088, 2080, 1536)
    assert backbone.reductions == (8, 16, 32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules": ["layer9"]}, "'layer9'.*layer1"),
        ({"modules": []}, "modules or by out_indices"),
        ({"modules": ["layer4"], "out_indices": [1]}, r"modules or by out_indices.*\['layer4'\].*\[1\]"),
    ],
)
def test_stages_that_a_timm_model_lacks_are_named(options: dict, message: str):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=message):
        TimmBackbone("test_resnet", **options)
