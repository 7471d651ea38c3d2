"""Co-teaching+: selection among disagreements by hand, what is left without any, limits."""

import pytest
import torch

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.co_teaching import DisagreementExchange, SmallLossExchange


def at(epoch: int, step: int = 0) -> Progress:
    return Progress(epoch, step, 100, 10)


def logits_of(predicted: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(predicted, 3).float()


def targets_of(index: torch.Tensor) -> Targets:
    return Targets.unmixed(torch.zeros_like(index), index)


def test_the_example_of_the_reference_sheet():
    selector = DisagreementExchange(2, noise_rate=0.5, ramp_epochs=0, start_epoch=0)
    differ = torch.tensor([1, 0, 1, 1, 0, 1])
    losses = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3.0, 0.1, 1.0, 2.0, 0.2, 0.5]])
    logits = [logits_of(torch.zeros_like(differ)), logits_of(differ)]
    weight = selector(losses, logits, targets_of(torch.arange(6)), at(0))
    assert weight[0].nonzero().flatten().tolist() == [2, 5]
    assert weight[1].nonzero().flatten().tolist() == [0, 2]


@pytest.mark.parametrize("networks", [2, 3])
@pytest.mark.parametrize("rate", [0.0, 0.45, 1.0])
def test_each_network_gets_small_losses_of_its_peer_among_disagreements(
    networks: int, rate: float, agreement, generator: torch.Generator
):
    selector = DisagreementExchange(networks, noise_rate=rate, ramp_epochs=0, start_epoch=0)
    for _ in range(4):
        losses = torch.randint(4, (networks, 13), generator=generator).float()
        predicted = torch.randint(3, (networks, 13), generator=generator)
        # Half of them are alike for certain.
        predicted[:, ::2] = predicted[0, ::2]
        index = torch.randperm(40, generator=generator)[:13]
        found = selector(losses, [logits_of(each) for each in predicted], targets_of(index), at(0))
        rows = [row for row in range(13) if len(set(predicted[:, row].tolist())) > 1]
        # Of no disagreement nothing is left, of a forget rate of 1 all of them.
        count = int((1 - rate) * len(rows) + 1e-9) or len(rows)
        expected = [[0.0] * 13 for _ in range(networks)]
        for number in range(networks):
            peer = losses[(number + 1) % networks].tolist()
            for row in sorted(rows, key=lambda each: (peer[each], int(index[each])))[:count]:
                expected[number][row] = 1.0
        agreement(DisagreementExchange, "selection among disagreements", found, expected, atol=0.0)


def test_before_its_epoch_and_where_all_disagree_it_is_co_teaching(generator: torch.Generator):
    values = {"noise_rate": 0.4, "ramp_epochs": 6}
    plus, plain = DisagreementExchange(2, start_epoch=3, **values), SmallLossExchange(2, **values)
    losses, targets = torch.rand(2, 12, generator=generator), targets_of(torch.arange(12))
    same = [logits_of(torch.zeros(12, dtype=torch.int64)) for _ in range(2)]
    other = [same[0], logits_of(torch.ones(12, dtype=torch.int64))]
    assert torch.equal(plus(losses, same, targets, at(2)), plain(losses, same, targets, at(2)))
    assert torch.equal(plus(losses, other, targets, at(5)), plain(losses, other, targets, at(5)))


def test_without_disagreement_nothing_counts_or_in_the_first_steps_all():
    losses, targets = torch.rand(2, 4), targets_of(torch.arange(4))
    same = [logits_of(torch.tensor([0, 1, 2, 0]))] * 2
    skip = DisagreementExchange(2, noise_rate=0.2, ramp_epochs=0, start_epoch=0)
    assert torch.equal(skip(losses, same, targets, at(9)), torch.zeros(2, 4))
    whole = DisagreementExchange(2, noise_rate=0.2, ramp_epochs=0, start_epoch=0, agreed_steps=50)
    assert torch.equal(whole(losses, same, targets, at(4, step=49)), torch.ones(2, 4))
    # Counted over the whole run: not again in the next epoch.
    assert torch.equal(whole(losses, same, targets, at(5, step=50)), torch.zeros(2, 4))


@pytest.mark.parametrize(("name", "value"), [("start_epoch", -1), ("agreed_steps", 0.5), ("ramp_epochs", -2)])
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        DisagreementExchange(2, **{name: value})  # type: ignore[arg-type]


def test_one_network_has_nobody_to_disagree_with():
    with pytest.raises(ValueError, match="num_networks=1"):
        DisagreementExchange(1)
