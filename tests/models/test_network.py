"""A trunk with heads: what goes where, initialisation, and the check of sizes."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from alasca_pl.core.types import Batch
from alasca_pl.models.backbones import TimmBackbone, small_resnet, torchvision_resnet
from alasca_pl.models.network import Network, check_shapes, initialise, kaiming_init
from alasca_pl.models.norms import norm_layer

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]


def test_shapes_of_all_outputs(make_network: MakeNetwork, make_batch: MakeBatch):
    output = make_network(num_classes=5)(make_batch().image)
    assert output.logits.shape == (6, 5)
    assert [logits.shape for logits in output.aux_logits] == [(6, 5), (6, 5)]
    assert output.features.shape == (6, 16)
    assert output.norm_outputs == ()


def test_main_logits_are_the_head_on_the_pooled_last_map(make_network: MakeNetwork, make_batch: MakeBatch):
    network, image = make_network().eval(), make_batch().image
    output, last = network(image), network.backbone(image)[-1]
    torch.testing.assert_close(output.features, last.mean((2, 3)))
    torch.testing.assert_close(output.logits, output.features @ network.head.weight.T + network.head.bias)


def test_auxiliary_logits_come_shallow_to_deep_from_their_stages(make_network: MakeNetwork, make_batch: MakeBatch):
    network, image = make_network(heads=()).eval(), make_batch().image

    class Doubled(nn.Module):
        linear = nn.Identity()

        def features(self, feature_map: torch.Tensor) -> torch.Tensor:
            return 2 * feature_map.mean((2, 3))

    network.attach({2: Doubled(), 1: Doubled()})
    maps = network.backbone(image)
    for logits, feature_map in zip(network(image).aux_logits, maps[:2], strict=True):
        torch.testing.assert_close(logits, 2 * feature_map.mean((2, 3)))


def test_auxiliary_features_are_the_input_of_the_heads_last_layer(make_network: MakeNetwork, make_batch: MakeBatch):
    network, image = make_network().eval(), make_batch().image
    output, maps = network(image), network.backbone(image)
    assert len(output.aux_features) == len(output.aux_logits) == 2
    for number, head in enumerate(network.aux_heads.values()):
        features = output.aux_features[number]
        torch.testing.assert_close(features, head.trunk(maps[number]).mean((2, 3)))
        torch.testing.assert_close(output.aux_logits[number], features @ head.linear.weight.T + head.linear.bias)
        torch.testing.assert_close(output.aux_logits[number], head(maps[number]))
    assert make_network(heads=())(image).aux_features == ()


def test_heads_leave_the_rest_alone(make_network: MakeNetwork, make_batch: MakeBatch):
    image = make_batch().image
    without, with_heads = make_network(heads=()), make_network()
    one, other = without(image), with_heads(image)
    assert one.aux_logits == () and len(other.aux_logits) == 2
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.features, other.features)


def test_gradient_of_a_head_stops_at_its_stage(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    network(make_batch().image).aux_logits[0].square().sum().backward()
    reached = [any(p.grad is not None for p in stage.parameters()) for stage in network.backbone.stages]
    assert reached == [True, False, False]
    assert network.head.weight.grad is None


def test_kaiming_init_draws_from_the_fan_in_and_keeps_biases():
    module = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.Linear(256, 128))
    biases = [module[0].bias.clone(), module[2].bias.clone()]
    kaiming_init(module)
    # Variance 2 / fan in; of 18432 and 32768 draws the estimate is within 5% almost surely.
    assert module[0].weight.var().item() == pytest.approx(2 / (32 * 9), rel=0.05)
    assert module[2].weight.var().item() == pytest.approx(2 / 256, rel=0.05)
    assert torch.equal(module[0].bias, biases[0]) and torch.equal(module[2].bias, biases[1])
    assert torch.equal(module[1].weight, torch.ones(64))


def test_torch_init_is_what_torch_s_own_layers_start_from():
    """Uniform within 1 / sqrt(fan in), biases too; the same draws as those of new layers."""
    convolution = torchvision_resnet("resnet18").stages[1][0].conv1
    module = nn.Sequential(convolution, nn.BatchNorm2d(64), nn.Linear(256, 128))
    scale = module[1].weight.detach().clone()
    torch.manual_seed(3)
    initialise(module, "torch")
    torch.manual_seed(3)
    new = nn.Sequential(nn.Conv2d(64, 128, 3, bias=False), nn.Linear(256, 128))
    assert torch.equal(module[0].weight, new[0].weight)
    assert torch.equal(module[2].weight, new[1].weight) and torch.equal(module[2].bias, new[1].bias)
    assert torch.equal(module[1].weight, scale)
    bound = 1 / math.sqrt(64 * 9)
    assert 0.99 * bound < module[0].weight.abs().max() <= bound


def test_library_leaves_a_network_as_it_is_and_an_unknown_rule_is_named(make_network: MakeNetwork):
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    initialise(network, "library")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"'zeros'.*library, kaiming, torch"):
        initialise(network, "zeros")


@pytest.mark.parametrize("training", [True, False])
def test_checking_shapes_leaves_mode_and_state_alone(training: bool, make_network: MakeNetwork):
    network = make_network().train(training)
    before = copy.deepcopy(network.state_dict())
    check_shapes(network, (1, 8, 8))
    assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 8, 8)])
def test_images_that_do_not_fit_are_named(shape: tuple[int, int, int], make_network: MakeNetwork):
    network = make_network().train()
    with pytest.raises(ValueError, match=" x ".join(map(str, shape))):
        check_shapes(network, shape)
    assert network.training


def test_images_that_a_model_of_fixed_size_refuses_are_named():
    pytest.importorskip("timm")
    tiny = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1)}
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", out_indices=(0, 1), options=tiny)
    check_shapes(Network(backbone, 3), (3, 32, 32))
    with pytest.raises(ValueError, match="3 x 16 x 16"):
        check_shapes(Network(backbone, 3), (3, 16, 16))


@pytest.mark.parametrize("channels", [1, 4, 6, 8, 10, 64])
def test_group_norm_fits_any_number_of_channels_and_normalises_single_samples(
    channels: int, generator: torch.Generator
):
    layer = norm_layer("group")(channels)
    image = 5 + 3 * torch.randn(2, channels, 6, 6, generator=generator)
    out = layer(image)
    torch.testing.assert_close(out[:1], layer(image[:1]))
    torch.testing.assert_close(out.mean((1, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)


def test_batch_norm_is_torchs():
    assert isinstance(norm_layer("batch")(4), nn.BatchNorm2d)


@pytest.mark.parametrize("make", [norm_layer, lambda name: small_resnet(norm=name)])
def test_an_unknown_norm_is_named_with_the_choices(make: Callable):
    with pytest.raises(ValueError, match=r"'layer'.*batch, group"):
        make("layer")


@pytest.mark.parametrize("in_channels", [1, 3])
def test_the_memory_format_changes_rounding_only(in_channels: int):
    plain = Network(small_resnet(in_channels=in_channels), num_classes=10).double().train()
    other = copy.deepcopy(plain)
    other.use_memory_format("channels_last")
    images = torch.randn(6, in_channels, 16, 16, dtype=torch.double)
    for network in (plain, other):
        network(images).logits.square().sum().backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, check_stride=False)
    assert not plain.backbone(images)[0].is_contiguous(memory_format=torch.channels_last)
    seen = []
    other.pool.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    other(images)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_memory_format_is_refused_with_the_choices(make_network: MakeNetwork):
    with pytest.raises(ValueError, match="'nhwc'; choose one of channels_last, contiguous"):
        make_network().use_memory_format("nhwc")


def test_compiled_code_runs_training_batches_of_few_sizes_and_nothing_else():
    compiled: list[int] = []

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    pair = [Network(small_resnet(in_channels=1, width=4), num_classes=3) for _ in range(2)]
    plain = copy.deepcopy(pair)
    assert all(network.compile_for(4, backend) for network in pair)
    counts = []
    for size in (4, 4, 8, 3, 4, 8, 7):
        images = torch.randn(size, 1, 16, 16)
        for network, other in zip(pair, plain):
            assert torch.equal(network(images).logits, other(images).logits)
        counts.append(len(compiled))
    # Once for each multiple of 4, for both networks together; the others and all that follows run without the compiler.
    assert counts == [1, 1, 2, 2, 2, 2, 2]
    with torch.no_grad():
        pair[0](torch.randn(12, 1, 16, 16))
    pair[0].eval()(torch.randn(12, 1, 16, 16))
    assert len(compiled) == 2


def test_a_copy_of_a_compiled_network_runs_its_own_weights():
    network = Network(small_resnet(in_channels=1, width=4), num_classes=3)
    network.compile_for(4, lambda graph, inputs: graph.forward)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.head.weight.zero_()
        other.head.bias.fill_(5.0)
    images = torch.randn(4, 1, 16, 16)
    assert not torch.equal(network(images).logits, other(images).logits)
    assert other(images).logits.unique().tolist() == [5.0]


def test_what_needs_second_derivatives_is_not_compiled():
    network = Network(small_resnet(in_channels=1, width=4), num_classes=3)
    network.enable_norm_outputs()
    assert not network.compile_for(4) and network.compiled_sizes is None
