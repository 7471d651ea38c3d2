"""Folds of the training labels: disjoint, complete, stratified, and with the labels of the whole split."""

import numpy as np
import pytest

from alasca_pl.data.digits import read_digits
from alasca_pl.data.folds import HELD_OUT, fold_of, read_fold
from alasca_pl.data.prepared import PreparedData
from alasca_pl.noise.instance import InstanceNoise


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_are_equally_large_and_stratified(count: int):
    labels = np.random.default_rng(0).choice(4, 101, p=[0.6, 0.3, 0.08, 0.02])
    fold = fold_of(labels, count, seed=3)
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    for label in range(4):
        assert np.ptp(np.bincount(fold[labels == label], minlength=count)) <= 1
    assert not np.array_equal(fold, fold_of(labels, count, seed=4))
    np.testing.assert_array_equal(fold, fold_of(labels, count, seed=3))
    # Within a class the order of the data says nothing about the fold.
    first = np.flatnonzero(labels == 0)[: 2 * count]
    assert sorted(fold[first].tolist()) != sorted(2 * list(range(count))) or fold[first].tolist() != 2 * list(
        range(count)
    )


def prepared(**options) -> PreparedData:
    return PreparedData("digits", read_digits, InstanceNoise(0.4), num_val=100, max_train_samples=200, **options)


def test_a_fold_is_left_out_after_the_noise_is_drawn():
    whole = prepared()
    seen = []
    for number in range(3):
        part = prepared(fold=f"{number}/3")
        held = part.held_out
        assert held is not None
        kept = np.setdiff1d(np.arange(200), held)
        for name, rows in ((HELD_OUT, held), ("train", kept)):
            np.testing.assert_array_equal(part.splits[name].images, whole.splits["train"].images[rows])
            np.testing.assert_array_equal(part.labels[name], whole.noisy_labels.label[rows])
        np.testing.assert_array_equal(part.noisy_labels.index, whole.noisy_labels.index[kept])
        np.testing.assert_array_equal(part.noisy_labels.clean_label, whole.noisy_labels.clean_label[kept])
        np.testing.assert_array_equal(part.val_labels.label, whole.val_labels.label)
        assert part.facts.num_samples == len(kept) and part.facts.eval_splits == ("val", "test")
        assert sum(part.facts.class_counts) == len(kept)
        seen += held.tolist()
    assert sorted(seen) == list(range(200)) and whole.held_out is None and HELD_OUT not in whole.splits


@pytest.mark.parametrize("text", ["3/3", "0", "a/b", "-1/3", "0/1000", ""])
def test_what_is_no_fold_is_refused(text: str):
    with pytest.raises(ValueError, match=r"audit\.fold must be k/n"):
        read_fold(text)


def test_more_folds_than_samples_are_refused():
    with pytest.raises(ValueError, match="3 samples cannot be divided into 4 folds"):
        fold_of(np.zeros(3, dtype=np.int64), 4, 0)
