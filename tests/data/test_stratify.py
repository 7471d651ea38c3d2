"""Splits that are even over the classes, compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from alasca_pl.data import digits
from alasca_pl.data.stratify import stratified_split


def test_draws_what_scikit_learn_draws():
    rng = np.random.default_rng(0)
    compared = 0
    for seed in range(200):
        num_classes = int(rng.integers(2, 12))
        labels = rng.choice(rng.permutation(30)[:num_classes], size=int(rng.integers(30, 300)))
        _, counts = np.unique(labels, return_counts=True)
        size = int(rng.integers(1, len(labels)))
        positions = np.arange(len(labels))
        if counts.min() < 2 or min(size, len(labels) - size) < len(counts):
            with pytest.raises(ValueError):
                train_test_split(positions, test_size=size, stratify=labels, random_state=seed)
            with pytest.raises(ValueError):
                stratified_split(labels, size, seed)
            continue
        rest, taken = train_test_split(positions, test_size=size, stratify=labels, random_state=seed)
        ours = stratified_split(labels, size, seed)
        assert np.array_equal(ours[0], np.sort(rest)) and np.array_equal(ours[1], np.sort(taken))
        compared += 1
    assert compared > 100


def test_fractions_are_those_of_the_classes():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    rest, taken = stratified_split(labels, 40, seed=3)
    assert np.bincount(labels[taken]).tolist() == [20, 12, 8]
    assert sorted([*rest, *taken]) == list(range(100))
    assert not np.array_equal(taken, stratified_split(labels, 40, seed=4)[1])


def test_digits_are_those_of_the_library(monkeypatch):
    found = digits._read_file()
    assert found is not None
    bunch = load_digits()
    assert np.array_equal(found[0], bunch.images) and np.array_equal(found[1], bunch.target)
    assert bunch.target_names.tolist() == list(range(10))
    # Where the file is not found, the library is asked.
    by_file = digits.read_digits()
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    by_library = digits.read_digits()
    for one, other in ((by_file.train, by_library.train), (by_file.test, by_library.test)):
        assert one is not None and other is not None
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.images, other.images)
