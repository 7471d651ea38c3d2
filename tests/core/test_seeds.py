"""Random streams that are the same everywhere and independent of each other."""

import itertools

import pytest
import torch

from alasca_pl.core.seeds import derive_seed, generator


@pytest.mark.parametrize(
    ("arguments", "expected"),
    # Recorded once: a change would give every earlier run another order, split and noise.
    [((0,), 3456079177858693020), ((0, "order", 3), 2723741169552378311), ((17, "network", 1), 844144050906230324)],
)
def test_the_same_number_on_every_machine(arguments: tuple, expected: int):
    assert derive_seed(*arguments) == expected


def test_seeds_of_different_purposes_differ():
    seeds = [
        derive_seed(seed, purpose, number)
        for seed, purpose, number in itertools.product(range(5), ["order", "noise", "network"], range(20))
    ]
    assert len(set(seeds)) == len(seeds)


def test_digits_do_not_run_together():
    assert len({derive_seed(1, 23), derive_seed(12, 3), derive_seed(123), derive_seed(1, 2, 3)}) == 4


def test_lies_in_the_range_that_torch_takes():
    for number in range(200):
        seed = derive_seed(number, "range")
        assert 0 <= seed < 2**63
        torch.Generator().manual_seed(seed)


def test_the_same_purpose_repeats_its_draws_and_another_does_not():
    first = torch.rand(8, generator=generator(3, "noise"))
    assert torch.equal(first, torch.rand(8, generator=generator(3, "noise")))
    assert not torch.equal(first, torch.rand(8, generator=generator(3, "order")))
    assert not torch.equal(first, torch.rand(8, generator=generator(4, "noise")))


def test_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
