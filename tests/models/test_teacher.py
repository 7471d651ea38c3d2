"""The moving average of a network's weights."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

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


def test_moves_by_the_formula(agreement, make_network: MakeNetwork, generator: torch.Generator):
    network = make_network().double()
    teacher = WeightAverage(network, 0.75)
    expected = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(3):
        disturb(network, generator)
        teacher.update(network)
        expected = {name: 0.75 * expected[name] + 0.25 * parameter for name, parameter in network.named_parameters()}
    for name, parameter in teacher.average.named_parameters():
        agreement(WeightAverage, "averaged weights", parameter, expected[name], atol=1e-14)


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


def test_auxiliary_heads_are_not_copied_and_change_nothing(make_network: MakeNetwork, generator: torch.Generator):
    without, with_heads = make_network(heads=()), make_network()
    teachers = [WeightAverage(network, 0.5) for network in (without, with_heads)]
    assert not any("aux_heads" in name for name in teachers[1].state_dict())
    assert len(with_heads.aux_heads) == 2
    shift = {name: torch.randn(each.shape, generator=generator) for name, each in without.named_parameters()}
    for network, teacher in zip((without, with_heads), teachers):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.add_(shift.get(name, 1.0))
        teacher.update(network)
    one, other = (teacher.state_dict() for teacher in teachers)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "constant"}, [0.9] * 6),
        ({"schedule": "bias_corrected"}, [1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 6, 6 / 7]),
        ({"schedule": "bias_corrected", "momentum": 0.7}, [1 / 2, 2 / 3, 0.7, 0.7, 0.7, 0.7]),
        (
            {"schedule": "sigmoid_ramp", "ramp_steps": 4},
            [0.9 * math.exp(-5 / 4), 0.9 * math.exp(-5 / 16), 0.9, 0.9, 0.9, 0.9],
        ),
    ],
)
def test_schedules_by_hand(options: dict, expected: list[float], agreement, make_network: MakeNetwork):
    network = make_network()
    teacher = WeightAverage(network, **{"momentum": 0.9, **options})
    found = []
    for _ in expected:
        found.append(teacher.current_momentum())
        teacher.update(network)
    agreement(WeightAverage, "schedule of the momentum", found, expected, atol=1e-14)


def test_bias_corrected_by_the_authors_count():
    """Updates count from 1 there: the start has the weight of one update. 2, then 3, 5 and 9 give these means."""
    network = nn.Linear(1, 1, bias=False)

    def set_weight(value: float) -> None:
        with torch.no_grad():
            network.weight.fill_(value)

    set_weight(2.0)
    teacher = WeightAverage(network, 0.999, schedule="bias_corrected")
    found = []
    for value in (3.0, 5.0, 9.0):
        set_weight(value)
        teacher.update(network)
        found.append(teacher.average.weight.item())
    assert found == pytest.approx([2.5, 10 / 3, 4.75])


def test_bias_corrected_is_the_plain_mean_at_first(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    teacher = WeightAverage(network, 0.999, schedule="bias_corrected")
    seen = [network.head.weight.detach().clone()]
    for _ in range(4):
        disturb(network, generator)
        teacher.update(network)
        seen.append(network.head.weight.detach().clone())
    torch.testing.assert_close(teacher.average.head.weight, torch.stack(seen).mean(dim=0))


def test_the_schedule_goes_on_after_loading(make_network: MakeNetwork, generator: torch.Generator):
    network = make_network()
    options = {"momentum": 0.9, "schedule": "sigmoid_ramp", "ramp_steps": 8}
    teacher, other = WeightAverage(network, **options), WeightAverage(make_network(seed=9), **options)
    for _ in range(3):
        disturb(network, generator)
        teacher.update(network)
    other.load_state_dict(teacher.state_dict())
    assert other.steps == 3
    assert other.current_momentum() == teacher.current_momentum()
    disturb(network, generator)
    for each in (teacher, other):
        each.update(network)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in teacher.state_dict().items())


def test_own_statistics_are_those_of_what_the_teacher_saw(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network(heads=())
    teacher = WeightAverage(network, 0.5, own_statistics=True).train()
    seen, other = make_batch(seed=1).image, make_batch(seed=2).image
    network(other)
    theirs = copy.deepcopy(dict(network.named_buffers()))
    output = teacher(seen)
    # The weights are still equal, so that a network in training mode which sees the same images gives the same.
    reference = make_network(heads=())
    torch.testing.assert_close(output.logits, reference(seen).logits.detach())
    teacher.update(network)
    mine = dict(teacher.average.named_buffers())
    assert all(torch.equal(value, mine[name]) for name, value in reference.named_buffers())
    assert all(torch.equal(value, theirs[name]) for name, value in network.named_buffers())
    assert any(not torch.equal(value, theirs[name]) for name, value in mine.items())


def test_own_statistics_are_used_and_left_alone_in_evaluation(make_network: MakeNetwork, make_batch: MakeBatch):
    teacher = WeightAverage(make_network(), own_statistics=True).train()
    teacher(make_batch().image)
    before = copy.deepcopy(teacher.state_dict())
    alone = teacher.eval()(make_batch().image[:1]).logits
    torch.testing.assert_close(alone, teacher(make_batch().image).logits[:1])
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_it_listens_to_itself_unless_told():
    network = torch.nn.Linear(2, 2)
    assert WeightAverage(network).listen == "self"
    assert WeightAverage(network, listen="peer").listen == "peer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosine"}, "'cosine'.*constant, sigmoid_ramp, bias_corrected"),
        ({"listen": "other"}, "'other'.*self, peer"),
        ({"ramp_steps": 0}, "ramp_steps.*0"),
    ],
)
def test_an_unknown_choice_is_named(options: dict, message: str, make_network: MakeNetwork):
    with pytest.raises(ValueError, match=message):
        WeightAverage(make_network(), **options)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_outside_its_range_is_named(momentum: float, make_network: MakeNetwork):
    with pytest.raises(ValueError, match=f"momentum.*{momentum}"):
        WeightAverage(make_network(), momentum)
