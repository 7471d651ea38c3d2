"""Which samples an epoch uses, and in which order."""

import itertools

import pytest
import torch
from toy_data import N

from alasca_pl.data.plan import EpochPlan


def test_partners_share_the_given_label_and_come_from_the_whole_set():
    label = torch.arange(N) % 3
    plan = EpochPlan(label, 5, 0)
    seen = torch.zeros(N, N)
    for epoch in range(400):
        partners = plan.partners(epoch)
        assert torch.equal(label[partners], label)
        seen[torch.arange(N), partners] += 1
    assert torch.equal(plan.partners(7), plan.partners(7))
    members = torch.bincount(label)[label]
    # Each member of the class is drawn 400 / n_c times on average; 5 standard deviations.
    expected = 400 / members.float()
    inside = label.unsqueeze(0) == label.unsqueeze(1)
    off = (seen - expected.unsqueeze(1)).abs()[inside]
    assert (off < 5 * expected.max().sqrt()).all() and not seen[~inside].any()


@pytest.mark.parametrize("redraw", [True, False])
def test_a_subset_has_equally_many_samples_of_each_class(redraw):
    label = torch.tensor([0] * 40 + [1] * 25 + [2] * 3)
    plan = EpochPlan(label, 8, 3, subset_size=30, subset_redraw=redraw)
    first, later = plan.order(0), plan.order(1)
    for used in (first, later):
        assert len(set(used.tolist())) == len(used) == plan.size == 23
        assert torch.bincount(label[used]).tolist() == [10, 10, 3]
    assert (set(first.tolist()) == set(later.tolist())) != redraw
    assert first.tolist() != later.tolist()
    assert sum(len(rows) for rows in plan.rank_batches(0)) == 23 and plan.num_batches == 3


def test_every_sample_is_in_some_redrawn_subset():
    label = torch.arange(60) % 3
    plan = EpochPlan(label, 8, 3, subset_size=15)
    assert set(itertools.chain(*(plan.order(epoch).tolist() for epoch in range(40)))) == set(range(60))
