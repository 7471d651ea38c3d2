"""Small losses and selected samples, against sorting and sums by hand."""

import pytest
import torch

from alasca_pl.core.selected import keep_small_losses, kept_count, over_selected


@pytest.mark.parametrize(
    ("forget_rate", "size", "kept"),
    [
        (0.45, 128, 70),
        (0.0, 7, 7),
        (0.9, 10, 1),
        (0.45, 100, 55),
        (0.7, 10, 3),
        (0.99, 10, 10),
        (1.0, 4, 4),
        (0.5, 0, 0),
    ],
)
def test_how_many_are_kept(forget_rate: float, size: int, kept: int):
    assert kept_count(forget_rate, size) == kept


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.45, 0.8])
def test_the_smallest_losses_are_kept_and_among_equal_ones_the_smaller_index(rate: float, generator: torch.Generator):
    for _ in range(5):
        # Few values, so that many losses tie.
        losses = torch.randint(4, (3, 13), generator=generator).float()
        index = torch.randperm(40, generator=generator)[:13]
        kept = keep_small_losses(losses, index, rate)
        for ranking, row in zip(losses.tolist(), kept.tolist()):
            order = sorted(range(13), key=lambda place: (ranking[place], int(index[place])))
            smallest = order[: kept_count(rate, 13)]
            assert row == [float(place in smallest) for place in range(13)]


def test_the_order_of_the_batch_does_not_matter(generator: torch.Generator):
    losses, index = torch.randint(3, (2, 9), generator=generator).double(), torch.arange(9)
    order = torch.randperm(9, generator=generator)
    shuffled = keep_small_losses(losses[:, order], index[order], 0.5)
    assert shuffled.dtype == torch.float64
    assert torch.equal(keep_small_losses(losses, index, 0.5)[:, order], shuffled)


def test_the_mean_over_selected_samples_by_hand():
    penalty = torch.tensor([1.0, 5.0, 3.0, 7.0], requires_grad=True)
    scaled = over_selected(penalty, torch.tensor([2.0, 0.0, 0.5, 0.0]))
    assert scaled.tolist() == [2.0, 0.0, 6.0, 0.0]
    scaled.mean().backward()
    assert penalty.grad is not None and penalty.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_nothing_selected_costs_nothing():
    penalty = torch.tensor([1.0, 5.0], requires_grad=True)
    over_selected(penalty, torch.zeros(2)).sum().backward()
    assert penalty.grad is not None and penalty.grad.tolist() == [0.0, 0.0]
