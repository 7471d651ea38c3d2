"""Validation samples and subsets where classes are small or labels are strange."""

import logging

import numpy as np
import pytest

from alasca_pl.data.samples import ImageArrays
from alasca_pl.data.splits import count_classes, make_splits


def images(*counts: int) -> ImageArrays:
    """Images of a class each as often as said."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    return ImageArrays(np.zeros((len(labels), 2, 2, 3), dtype=np.uint8), labels)


def drawn(train: ImageArrays, num_val: int | float = 0, max_train: int | None = None, **options):
    splits, positions = make_splits({"train": train}, num_val, max_train, None, 0, **options)
    for name, split in splits.items():
        assert np.array_equal(split.labels, train.labels[positions[name]])
        assert np.array_equal(positions[name], np.unique(positions[name]))
    return splits, positions


def test_a_class_with_one_image_is_trained_on_and_said(caplog):
    train = images(150, 149, 1, 1)
    with caplog.at_level(logging.WARNING):
        splits, positions = drawn(train, 0.1, names=("a", "b", "c", "d"))
    assert len(splits["val"]) == 30 and len(splits["train"]) == 271
    assert not np.isin([2, 3], splits["val"].labels).any() and np.isin([2, 3], splits["train"].labels).all()
    assert not np.intersect1d(positions["train"], positions["val"]).size
    assert "2 class(es) with one image" in caplog.text and "'c'" in caplog.text and "'d'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        subset, _ = drawn(train, max_train=20)
    assert len(subset["train"]) == 20 and set(subset["train"].labels.tolist()) == {0, 1, 2, 3}
    assert not caplog.text


def test_many_classes_of_two_images_are_validated_on_some():
    splits, _ = drawn(images(*[2] * 1000), 0.1)
    assert len(splits["val"]) == 200 and np.bincount(splits["val"].labels).max() == 1
    assert len(np.unique(splits["train"].labels)) == 1000


def test_other_classes_are_split_as_without_small_ones():
    """The draw is that of the classes that take part."""
    labels = np.repeat([0, 1], [60, 40])
    two = ImageArrays(np.zeros((100, 2, 2, 3), dtype=np.uint8), labels)
    more = ImageArrays(np.zeros((101, 2, 2, 3), dtype=np.uint8), np.append(labels, 2))
    assert np.array_equal(drawn(two, 20)[1]["val"], drawn(more, 20)[1]["val"])


@pytest.mark.parametrize(
    ("train", "num_val", "max_train", "message"),
    [
        (
            images(3, 3),
            5,
            None,
            r"^data.num_val: cannot draw 5 of 6 samples evenly: 1 samples are fewer than the 2 classes; ",
        ),
        (images(5, 5), 0, 1, r"^data.max_train_samples: cannot draw 1 of 10"),
        (images(5, 1, 1, 1), 0, 3, r"^data.max_train_samples is 3, but 3 classes have one image each"),
    ],
)
def test_what_cannot_be_drawn_is_refused(train, num_val, max_train, message):
    with pytest.raises(ValueError, match=message):
        drawn(train, num_val, max_train)


@pytest.mark.parametrize("labels", [[100234, 100900, 205111], [0, 1, 2, 10**6], [5, 5, 5]])
def test_a_stray_label_does_not_decide_the_number_of_classes(labels):
    train = ImageArrays(np.zeros((60, 2, 2, 3), dtype=np.uint8), np.resize(labels, 60).astype(np.int64))
    splits = {"train": train}
    whole = max(labels) + 1
    with pytest.raises(ValueError, match=rf"reach {max(labels)}, .*data.num_classes={whole}$"):
        count_classes(splits, (), None, "csv")
    assert count_classes(splits, (), whole, "csv") == whole


def test_a_few_classes_without_images_are_only_said(caplog):
    assert count_classes({"train": images(5, 0, 5, 5)}, (), None, "csv") == 4
    assert "no training image of 1 class(es): 1" in caplog.text


def test_classes_that_look_the_same_are_refused_and_capital_letters_are_told(caplog):
    splits = {"train": images(5, 5)}
    with pytest.raises(ValueError, match=r"'caf\\xe9' and 'cafe\\u0301' of mine look the same"):
        count_classes(splits, ("caf\u00e9", "cafe\u0301"), None, "mine")
    assert not caplog.records
    assert count_classes(splits, ("cat", "Cat"), None, "mine") == 2
    assert "the classes 'cat' and 'Cat' of mine differ in capital letters only" in caplog.text
