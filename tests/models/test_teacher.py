"""The moving average of a network's weights."""

import copy
from collections.abc import Callable

import pytest
import torch

from alasca_pl.core.types import Batch
from alasca_pl.models.network import Network
from alasca_pl.models.teacher import WeightAverage

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]


def disturb(network: Network, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_starts_equal_to_the_network_and_apart_from_it(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    teacher = WeightAverage(network, 0.9)
    before = copy.deepcopy(network.state_dict())
    disturb(network, generator)
    assert all(torch.equal(value, before[name]) for name, value in teacher.average.state_dict().items())


def test_moves_by_the_formula(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    teacher = WeightAverage(network, 0.75)
    expected = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(3):
        disturb(network, generator)
        teacher.update(network)
        expected = {name: 0.75 * expected[name] + 0.25 * parameter for name, parameter in network.named_parameters()}
    for name, parameter in teacher.average.named_parameters():
        torch.testing.assert_close(parameter, expected[name].detach())


def test_copies_buffers(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network()
    teacher = WeightAverage(network, 0.9)
    network(make_batch().image)
    teacher.update(network)
    theirs = dict(network.named_buffers())
    assert any(name.endswith("running_mean") and value.any() for name, value in theirs.items())
    assert all(torch.equal(value, theirs[name]) for name, value in teacher.average.named_buffers())


def test_without_momentum_it_is_the_network(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    teacher = WeightAverage(network, 0.0)
    disturb(network, generator)
    teacher.update(network)
    theirs = dict(network.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in teacher.average.named_parameters())


def test_predicts_in_evaluation_mode_without_gradient(make_network: MakeNetwork, make_batch: MakeBatch):
    network, image = make_network(), make_batch().image
    teacher = WeightAverage(network).train()
    buffers = copy.deepcopy(dict(teacher.average.named_buffers()))
    output = teacher(image)
    torch.testing.assert_close(output.logits, network.eval()(image).logits.detach())
    assert not output.logits.requires_grad
    assert all(torch.equal(value, buffers[name]) for name, value in teacher.average.named_buffers())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_saved_and_loaded_it_goes_on_as_if_never_stopped(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    teacher, other = WeightAverage(network, 0.5), WeightAverage(make_network(seed=9), 0.5)
    disturb(network, generator)
    teacher.update(network)
    other.load_state_dict(teacher.state_dict())
    disturb(network, generator)
    for each in (teacher, other):
        each.update(network)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_outside_its_range_is_named(momentum: float, make_network: MakeNetwork):
    with pytest.raises(ValueError, match=f"momentum.*{momentum}"):
        WeightAverage(make_network(), momentum)
