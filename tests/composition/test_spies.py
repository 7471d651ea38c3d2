"""Nothing that trains learns clean labels or the true noise rate, unless a config says oracle.

The proof is by interference: two runs see the same observed labels, but in one of them everything that is true of the data
is replaced. Whatever reads it, by whatever way, ends with other weights or tables.
"""

import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch

from alasca_pl.build.data import build_data
from alasca_pl.methods.cross_entropy import CrossEntropy
from facts import METHODS
from running import SMALLER, assert_same_bits, checkpoint, method_overrides, slow_unless, train

ORACLE = {
    "co_teaching": ("selector.noise_rate=oracle", "selector.ramp_epochs=0"),
    "cdr": ("gradient_transform.noise_rate=oracle",),
    "forward": ("criterion.matrix=oracle",),
}


def with_other_truth(config):
    """The data of a config with the observed training labels as they are and all else about labels replaced."""
    data = build_data(config)
    labels, classes = data.noisy_labels, data.facts.num_classes
    rng = np.random.default_rng(0)
    clean = np.where(rng.random(len(labels.label)) < 0.3, rng.integers(0, classes, len(labels.label)), labels.label)
    data.noisy_labels = dataclasses.replace(labels, clean_label=clean)
    assert data.noisy_labels.digest == labels.digest
    # The reader's own labels, and those that accuracy is measured against, are truths, too.
    splits = data._prepared.splits
    splits["train"] = dataclasses.replace(splits["train"], labels=clean)
    for part in ("val", "test"):
        data._labels[part] = (data._labels[part] + 1) % classes
    data.facts = data.facts._replace(realised_rate=data.noisy_labels.realised_rate)
    if data.facts.realised_matrix:
        matrix = data.noisy_labels.transition_matrix
        data.facts = data.facts._replace(realised_matrix=tuple(matrix.flatten().tolist()))
    return data


def train_twice(tmp_path, *overrides):
    """Train with the truth and with another one; returns both records."""
    record = train(tmp_path / "true", *SMALLER, *overrides)
    with mock.patch("alasca_pl.runs.prepared.build_data", with_other_truth):
        other = train(tmp_path / "other", *SMALLER, *overrides)
    # What is measured must show that the replacement has reached the run.
    assert record.noise.sha256 == other.noise.sha256
    assert abs(record.noise.realised_rate - other.noise.realised_rate) > 0.1
    # Any figure will do: a network that has hardly learned anything may be right as often on both.
    assert record.metrics["last"] != other.metrics["last"]
    return record, other


def assert_blind(tmp_path):
    one, other = checkpoint(tmp_path / "true"), checkpoint(tmp_path / "other")
    for part in ("global_step", "state_dict", "optimizer_states"):
        assert_same_bits(one[part], other[part])


# Each way to know more than a loss does: scans, tables, estimates, rankings, teachers, further views.
FAST = ("cdr", "co_teaching", "crust", "dividemix", "elr_plus", "fine", "har")


@pytest.mark.parametrize("method", slow_unless(FAST, METHODS))
def test_other_truths_change_no_bit(tmp_path, method):
    record, other = train_twice(tmp_path, *method_overrides(method, "paper"))
    assert_blind(tmp_path)
    assert record.oracle == other.oracle == []


@pytest.mark.parametrize(
    ("method", "slot"), [("co_teaching", "selector"), ("cdr", "gradient_transform"), ("forward", "criterion")]
)
def test_an_oracle_does_change_them(tmp_path, method, slot):
    """The counterpart, and all that the record must say of it."""
    record, other = train_twice(tmp_path, *method_overrides(method), *ORACLE[method])
    with pytest.raises(AssertionError, match="differs"):
        assert_blind(tmp_path)
    assert record.oracle == other.oracle == [slot]


@pytest.mark.parametrize("rate", slow_unless(("${noise.rate}",), ["0.3", "estimated", "${noise.rate}"]))
@pytest.mark.parametrize(("method", "slot"), [("co_teaching", "selector"), ("cdr", "gradient_transform")])
def test_a_given_or_estimated_rate_is_no_oracle(tmp_path, method, slot, rate):
    record, _ = train_twice(tmp_path, *method_overrides(method), f"{slot}.noise_rate={rate}")
    assert_blind(tmp_path)
    assert record.oracle == []


class Traitor(CrossEntropy):
    """A criterion that looks where it must not."""

    data = None
    reads = "labels"

    def forward(self, logits, targets, progress):
        losses = super().forward(logits, targets, progress)
        if self.reads == "labels":
            clean = torch.from_numpy(self.data.noisy_labels.clean_label)[targets.index[0]]
            return losses * (clean == targets.label[0])
        return losses * (1.0 - self.data.facts.realised_rate)


@pytest.mark.parametrize("reads", ["labels", "rate"])
def test_a_traitor_would_be_caught(tmp_path, monkeypatch, reads):
    def betray(build):
        def wrapped(config):
            Traitor.data = build(config)
            return Traitor.data

        return wrapped

    monkeypatch.setattr(Traitor, "reads", reads)
    monkeypatch.setattr(Traitor, "data", None)
    monkeypatch.setattr("alasca_pl.methods.cross_entropy.CrossEntropy", Traitor)
    monkeypatch.setattr("alasca_pl.runs.prepared.build_data", betray(build_data))
    monkeypatch.setattr(f"{__name__}.with_other_truth", betray(with_other_truth))
    train_twice(tmp_path, "method=ce", "alasca=none")
    with pytest.raises(AssertionError, match="differs"):
        assert_blind(tmp_path)
