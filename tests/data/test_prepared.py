import dataclasses

import numpy as np
import pytest
from toy_data import K, build, prepare, raw_data

from alasca_pl.core.record import DataRecord
from alasca_pl.data.prepared import PreparedData
from alasca_pl.data.samples import ImageArrays, RawData
from alasca_pl.noise.model import NoiseModel
from alasca_pl.noise.symmetric import SymmetricNoise
from alasca_pl.report.summary import render
from report.trees import make_run

DATA = DataRecord("toy", {"train": 4, "test": 4}, 2, [1, 8, 8], ["a", "b"], "d" * 64)


def test_split_is_disjoint_complete_and_even_over_the_classes():
    data = prepare(num_val=40)
    train, val = data.noisy_labels, data.val_labels
    assert sorted([*train.index.tolist(), *val.index.tolist()]) == list(range(200))
    assert np.bincount(val.clean_label).tolist() == [10] * K
    assert np.bincount(train.clean_label).tolist() == [40] * K
    assert data.sizes == {"train": 160, "val": 40, "test": 40}


def test_split_depends_on_its_own_seed_only():
    index = build(num_val=40, split_seed=1, seed=0).noisy_labels.index.tolist()
    assert build(num_val=40, split_seed=1, seed=5).noisy_labels.index.tolist() == index
    assert build(num_val=40, split_seed=2, seed=0).noisy_labels.index.tolist() != index


def test_a_validation_split_of_the_data_set_is_used_instead_of_a_split():
    data = prepare(raw_data(val=20), num_val=40)
    assert data.sizes == {"train": 200, "val": 20, "test": 40}


def test_noisy_val_false_keeps_validation_labels_clean():
    clean, noisy = (prepare(noise=SymmetricNoise(0.5), num_val=40, noisy_val=flag) for flag in (False, True))
    assert clean.val_labels.realised_rate == 0.0
    assert noisy.val_labels.realised_rate > 0.0
    assert clean.facts.noise_digest == noisy.facts.noise_digest


def test_another_noise_seed_gives_other_noise():
    one, other = (prepare(noise=SymmetricNoise(0.5, seed=s)) for s in (0, 1))
    assert one.facts.noise_digest != other.facts.noise_digest


def test_doubtful_labels_without_added_noise_have_no_clean_labels():
    data = prepare(noise=NoiseModel(), labels_are_clean=False, num_val=40)
    assert data.noisy_labels.clean_label is None
    assert data.val_labels.clean_label is None
    assert data.noisy_labels.realised_rate is None
    assert prepare(noise=NoiseModel(), labels_are_clean=True).noisy_labels.realised_rate == 0.0


def test_a_subset_is_even_over_the_classes_and_apart_from_validation():
    data = prepare(num_val=40, max_train_samples=32)
    assert np.bincount(data.noisy_labels.clean_label).tolist() == [8] * K
    assert not set(data.noisy_labels.index.tolist()) & set(data.val_labels.index.tolist())
    assert set(data.noisy_labels.index.tolist()) < set(prepare(num_val=40).noisy_labels.index.tolist())


def test_facts_describe_the_data():
    data = prepare(raw_data(channels=1), num_val=40)
    facts = data.facts
    assert (facts.name, facts.num_classes, facts.num_samples) == ("toy", K, 160)
    assert facts.image_shape == (1, 5, 6)
    assert facts.noise_digest == data.noisy_labels.digest
    assert facts.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 150}, "num_samples is 150, but toy has 200"),
        ({"num_samples": 200, "num_val": 40}, "num_samples is 200, but toy has 160"),
        ({"num_samples": 5, "max_train_samples": 100}, "num_samples is 5, but toy has 100"),
        ({"num_classes": 3}, "label 3, but with 3 classes.*0 to 2"),
        ({"num_classes": 1}, "1 class"),
        ({"num_val": 200}, "num_val is 200, but there are 200"),
        ({"num_val": -1}, "num_val is -1"),
        ({"max_train_samples": 0}, "data.max_train_samples must be a whole number of at least 1 or null, got 0"),
        ({"batch_size": 0}, "data.batch_size must be a whole number of at least 1, got 0"),
        ({"eval_batch_size": -5}, "data.eval_batch_size must be a whole number of at least 1, got -5"),
        ({"batch_size": 1.5}, "data.batch_size must be a whole number"),
        ({"num_workers": True}, "data.num_workers must be a whole number.*True"),
        ({"split_seed": "x"}, "data.split_seed must be a whole number.*'x'"),
        ({"num_val": 0.0001}, "num_val is 0.0001, but there are 200"),
        ({"num_val": 1.5}, "whole number or a fraction below 1, got 1.5"),
        ({"num_val": "abc"}, "whole number or a fraction below 1, got 'abc'"),
        ({"mean": "abc"}, "data.mean must be a list.*'abc'"),
        ({"mean": [0.5]}, "mean has 1 values.*3 channel"),
        ({"std": [0.2, 0.0, 0.2]}, "std must be above 0"),
    ],
)
def test_values_that_do_not_fit_the_data_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_test_labels_beyond_the_classes_of_the_training_split_are_refused():
    raw = raw_data()
    beyond = RawData(raw.train, ImageArrays(raw.test.images, raw.test.labels + 3))
    with pytest.raises(ValueError, match="label 6, but with 4 classes"):
        prepare(beyond)


def test_declared_classes_may_exceed_those_that_occur():
    assert prepare(num_classes=9).facts.num_classes == 9


@pytest.mark.parametrize(
    ("labels_are_clean", "has_clean", "expected"),
    [(True, False, ("test",)), (False, False, ()), (False, True, ("test",))],
)
def test_test_labels_are_clean_only_if_somebody_says_so(labels_are_clean, has_clean, expected):
    raw = raw_data(val=20)
    if has_clean:
        raw = dataclasses.replace(raw, test=dataclasses.replace(raw.test, clean=raw.test.labels))
    data = PreparedData("toy", lambda: raw, NoiseModel(), labels_are_clean=labels_are_clean)
    assert data.clean_splits == expected


def test_the_summary_calls_labels_clean_only_if_they_are_known_to_be(tmp_path):
    for clean, words in ((["test"], " (clean labels)"), ([], " (given labels)"), (None, "")):
        record = make_run(tmp_path / "run", data=dataclasses.replace(DATA, clean_splits=clean), duration_seconds=1.0)
        assert render(record, None).renderables[0].title == f"Test accuracy{words}"
