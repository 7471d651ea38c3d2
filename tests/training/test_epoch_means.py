"""Means over an epoch, also across an interruption."""

import io

import pytest
import torch

from alasca_pl.training.callbacks.epoch_means import EpochMeans


def pair(total: float, count: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(total), torch.tensor(count)


def test_means_weigh_batches_by_their_counts():
    means = EpochMeans()
    for values in ([1.0, 2.0, 6.0], [10.0], [4.0, 1.0]):
        means.add({"acc": pair(sum(values), len(values))})
    assert means.take() == {"acc": pytest.approx((1 + 2 + 6 + 10 + 4 + 1) / 6)}


def test_names_do_not_mix_and_may_come_later():
    means = EpochMeans()
    means.add({"a": pair(3.0, 1), "b": pair(8.0, 2)})
    means.add({"b": pair(4.0, 1), "c": pair(5.0, 2)})
    means.add({})
    assert means.take() == {"a": 3.0, "b": 4.0, "c": 2.5}


def test_what_counted_nothing_is_left_out():
    means = EpochMeans()
    means.add({"memorised": pair(0.0, 0), "acc": pair(0.0, 4)})
    assert means.take() == {"acc": 0.0}


def test_taking_starts_anew():
    means = EpochMeans()
    means.add({"a": pair(100.0, 1)})
    means.take()
    assert means.take() == {}
    means.add({"a": pair(2.0, 1)})
    assert means.take() == {"a": 2.0}


def test_many_small_values_keep_their_digits():
    means = EpochMeans()
    for _ in range(3000):
        means.add({"a": (torch.tensor(0.1), torch.tensor(1.0))})
    assert means.take()["a"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-10)


def test_interrupted_in_an_epoch_it_goes_on_as_if_nothing_had_happened():
    straight, before, after = EpochMeans(), EpochMeans(), EpochMeans()
    steps = [{"a": pair(1.5, 1), "b": pair(2.0, 3)}, {"a": pair(0.25, 1)}, {"b": pair(7.0, 5)}]
    for step in steps:
        straight.add(step)
    before.add(steps[0])
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    before.add({"a": pair(999.0, 1)})
    after.load_state_dict(torch.load(file, weights_only=True))
    for step in steps[1:]:
        after.add(step)
    assert after.take() == straight.take()


def test_a_state_is_a_snapshot():
    means = EpochMeans()
    means.add({"a": pair(1.0, 1)})
    state = means.state_dict()
    means.add({"a": pair(9.0, 1)})
    other = EpochMeans()
    other.load_state_dict(state)
    other.add({"a": pair(3.0, 1)})
    assert state["a"].tolist() == [1.0, 1.0]
    assert other.take() == {"a": 2.0}
