"""Activations after normalisation layers: which layers, that nothing else changes, that no graph is kept."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alasca_pl.core.types import Batch
from alasca_pl.models.backbones import TimmBackbone, small_resnet, torchvision_resnet
from alasca_pl.models.network import Network
from alasca_pl.models.norm_outputs import norm_layers
from alasca_pl.models.preact import preact_resnet18

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        (lambda: small_resnet(1, 4), 6),
        (lambda: small_resnet(1, 4, blocks=2, norm="group"), 12),
        (lambda: torchvision_resnet("resnet18"), 16),
        (lambda: torchvision_resnet("resnet50"), 48),
        (preact_resnet18, 16),
    ],
)
def test_all_norms_in_blocks_and_no_others_are_tapped(backbone: Callable, count: int):
    module = backbone()
    names = {layer: name for name, layer in module.named_modules()}
    tapped = [names[layer] for layer in norm_layers(module)]
    assert len(tapped) == len(set(tapped)) == count
    assert not any("downsample" in name or "shortcut" in name for name in tapped)
    # The stem's own normalisation lies directly in the first stage.
    assert all(len(name.split(".")) >= 4 for name in tapped)


def test_a_timm_resnet_is_known_and_another_trunk_is_named():
    pytest.importorskip("timm")
    assert len(norm_layers(TimmBackbone("resnet18"))) == 16
    network = Network(TimmBackbone("convnext_atto"), 3)
    with pytest.raises(ValueError, match=r"TimmBackbone.*resnet34_cifar"):
        network.enable_norm_outputs()
    assert not network(torch.zeros(1, 3, 32, 32)).norm_outputs


@pytest.mark.parametrize("backbone", [lambda: small_resnet(1, 4), lambda: preact_resnet18(1)])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_keep_every_bit(backbone: Callable, training: bool, make_batch: MakeBatch):
    torch.manual_seed(0)
    plain = Network(backbone(), 4).train(training)
    tapped = copy.deepcopy(plain)
    tapped.enable_norm_outputs()
    outputs = []
    for network in (plain, tapped):
        output = network(make_batch().image)
        output.logits.square().sum().backward()
        outputs.append(output)
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].features, outputs[1].features)
    assert outputs[0].norm_outputs == () and len(outputs[1].norm_outputs) > 0
    for one, other in zip(plain.parameters(), tapped.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(plain.buffers(), tapped.buffers(), strict=True):
        assert torch.equal(one, other)


def test_values_are_the_layers_outputs_in_order(make_network: MakeNetwork, make_batch: MakeBatch):
    """Recomputed block by block, before the in-place activation and the in-place sum that follow."""
    network, image = make_network(), make_batch().image
    reference = copy.deepcopy(network).backbone
    network.enable_norm_outputs()
    norm_outputs = iter(network(image).norm_outputs)
    current = image
    for stage in reference.stages:
        for module in stage:
            if not hasattr(module, "bn1"):
                current = module(current)
                continue
            first, second = next(norm_outputs), next(norm_outputs)
            inner = module.bn1(module.conv1(current))
            torch.testing.assert_close(first.value, inner)
            inner = module.bn2(module.conv2(F.relu(inner)))
            torch.testing.assert_close(second.value, inner)
            shortcut = current if module.downsample is None else module.downsample(current)
            current = F.relu(inner + shortcut)
    assert next(norm_outputs, None) is None


def test_scales_are_the_layers_own_and_ones_without(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network.enable_norm_outputs()
    assert network(make_batch().image).norm_outputs[0].scale is network.backbone.stages[0][3].bn1.weight
    network.backbone.stages[0][3].bn1 = nn.BatchNorm2d(4, affine=False)
    assert torch.equal(network(make_batch().image).norm_outputs[0].scale, torch.ones(4))


def test_each_pass_has_taps_of_its_own(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network.enable_norm_outputs()
    one, other = network(make_batch().image), network(make_batch(seed=1).image)
    assert len(one.norm_outputs) == len(other.norm_outputs) == 6
    for mine, foreign in ((one, other), (other, one)):
        (slope,) = torch.autograd.grad(mine.logits.sum(), [mine.norm_outputs[0].value], retain_graph=True)
        assert slope.any()
        assert torch.autograd.grad(
            mine.logits.sum(), [foreign.norm_outputs[0].value], retain_graph=True, allow_unused=True
        ) == (None,)  # fmt: skip


def test_no_activation_outlives_its_output(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network.enable_norm_outputs()
    output = network(make_batch().image)
    activation = weakref.ref(output.norm_outputs[0].value)
    del output
    gc.collect()
    assert activation() is None
    assert not any(module._forward_hooks for module in network.modules())


def test_a_failed_pass_leaves_no_hook(make_network: MakeNetwork):
    network = make_network()
    network.enable_norm_outputs()
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 5, 8, 8))
    assert not any(module._forward_hooks for module in network.modules())


def test_a_copy_gives_its_own_activations(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network.enable_norm_outputs()
    network(make_batch().image)
    other = copy.deepcopy(network)
    output = other(make_batch().image)
    assert output.norm_outputs[0].scale is other.backbone.stages[0][3].bn1.weight
    assert torch.autograd.grad(output.logits.sum(), [output.norm_outputs[0].value])[0].any()


def test_without_gradient_nothing_is_collected(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network.enable_norm_outputs()
    with torch.no_grad():
        assert network(make_batch().image).norm_outputs == ()


def test_converted_for_several_processes_it_still_has_its_taps(make_network: MakeNetwork):
    network = make_network()
    network.enable_norm_outputs()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert len(norm_layers(converted.backbone)) == 6
