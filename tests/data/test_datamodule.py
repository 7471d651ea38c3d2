import numpy as np
import pytest
import torch

from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.samples import ImageArrays, RawData
from alasca_pl.noise.model import NoiseModel
from alasca_pl.noise.symmetric import SymmetricNoise

K = 4


def part(size: int, channels: int = 3, seed: int = 0) -> ImageArrays:
    images = np.random.default_rng(seed).integers(0, 256, (size, 5, 6, channels)).astype(np.uint8)
    # The first two pixels of the first row say which sample it is.
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(size) // 256, np.arange(size) % 256
    return ImageArrays(images, np.arange(size) % K)


def raw_data(train: int = 200, val: int | None = None, channels: int = 3) -> RawData:
    return RawData(part(train, channels), part(40, channels, 1), None if val is None else part(val, channels, 2))


def build(raw: RawData | None = None, noise: NoiseModel | None = None, **options) -> NoisyDataModule:
    raw = raw or raw_data()
    options = {"batch_size": 10} | options
    return NoisyDataModule("toy", lambda: raw, noise or SymmetricNoise(0.5), **options)


def test_split_is_disjoint_complete_and_even_over_the_classes():
    data = build(num_val=40)
    train, val = data.noisy_labels, data.val_labels
    assert sorted([*train.index.tolist(), *val.index.tolist()]) == list(range(200))
    assert np.bincount(val.clean_label).tolist() == [10] * K
    assert np.bincount(train.clean_label).tolist() == [40] * K
    assert data.sizes == {"train": 160, "val": 40, "test": 40}


@pytest.mark.parametrize("name", ["train", "val"])
def test_images_stay_with_their_positions(name):
    raw = raw_data()
    data = build(raw, num_val=40, mean=[0.0] * 3, std=[1.0] * 3)
    labels = data.noisy_labels if name == "train" else data.val_labels
    for batch in data.eval_batches(name):
        expected = torch.from_numpy(raw.train.images[labels.index[batch.index.numpy()]]).permute(0, 3, 1, 2) / 255
        assert torch.allclose(batch.image, expected, atol=1e-6)
        assert batch.label.tolist() == labels.label[batch.index.numpy()].tolist()
        assert labels.clean_label.tolist() == raw.train.labels[labels.index].tolist()


def test_split_depends_on_its_own_seed_only():
    index = build(num_val=40, split_seed=1, seed=0).noisy_labels.index.tolist()
    assert build(num_val=40, split_seed=1, seed=5).noisy_labels.index.tolist() == index
    assert build(num_val=40, split_seed=2, seed=0).noisy_labels.index.tolist() != index


def test_a_validation_part_of_the_data_set_is_used_instead_of_a_split():
    data = build(raw_data(val=20), num_val=40)
    assert data.sizes == {"train": 200, "val": 20, "test": 40}


def test_without_validation_only_the_test_part_is_measured():
    data = build()
    assert data.val_labels is None
    assert list(data.val_dataloader()) == ["test"]
    with pytest.raises(ValueError, match=r"'val'.*train, test"):
        data.eval_batches("val")


def test_noise_reaches_training_and_validation_but_never_the_test_part():
    raw = raw_data()
    before = raw.train.labels.copy(), raw.test.labels.copy()
    data = build(raw, SymmetricNoise(1.0, "exclusive"), num_val=40)
    assert data.noisy_labels.realised_rate == 1.0
    assert data.val_labels.realised_rate == 1.0
    test = torch.cat([batch.label for batch in data.eval_batches("test")])
    assert test.tolist() == (np.arange(40) % K).tolist()
    assert np.array_equal(raw.train.labels, before[0])
    assert np.array_equal(raw.test.labels, before[1])


def test_noisy_val_false_keeps_validation_labels_clean():
    clean, noisy = (build(noise=SymmetricNoise(0.5), num_val=40, noisy_val=flag) for flag in (False, True))
    assert clean.val_labels.realised_rate == 0.0
    assert noisy.val_labels.realised_rate > 0.0
    assert clean.facts.noise_digest == noisy.facts.noise_digest


def test_training_batches_carry_the_observed_labels():
    data = build(num_val=40)
    for batch in data.train_dataloader():
        assert batch.label.tolist() == data.noisy_labels.label[batch.index.numpy()].tolist()


def test_runs_with_other_seeds_share_the_noise_and_differ_in_order():
    one, other = (build(noise=SymmetricNoise(0.5, seed=3), num_val=40, split_seed=1, seed=s) for s in (0, 1))
    assert one.facts.noise_digest == other.facts.noise_digest
    assert one.val_labels.digest == other.val_labels.digest
    assert next(iter(one.train_dataloader())).index.tolist() != next(iter(other.train_dataloader())).index.tolist()


def test_another_noise_seed_gives_other_noise():
    one, other = (build(noise=SymmetricNoise(0.5, seed=s)) for s in (0, 1))
    assert one.facts.noise_digest != other.facts.noise_digest


def test_untrusted_labels_without_added_noise_have_no_clean_labels():
    data = build(noise=NoiseModel(), labels_are_clean=False, num_val=40)
    assert data.noisy_labels.clean_label is None
    assert data.val_labels.clean_label is None
    assert data.noisy_labels.realised_rate is None
    assert build(noise=NoiseModel(), labels_are_clean=True).noisy_labels.realised_rate == 0.0


def test_a_subset_is_even_over_the_classes_and_apart_from_validation():
    data = build(num_val=40, max_train_samples=32)
    assert np.bincount(data.noisy_labels.clean_label).tolist() == [8] * K
    assert not set(data.noisy_labels.index.tolist()) & set(data.val_labels.index.tolist())
    assert set(data.noisy_labels.index.tolist()) < set(build(num_val=40).noisy_labels.index.tolist())


def test_facts_describe_the_data():
    data = build(raw_data(channels=1), num_val=40)
    facts = data.facts
    assert (facts.name, facts.num_classes, facts.num_samples) == ("toy", K, 160)
    assert facts.image_shape == (1, 5, 6)
    assert facts.noise_digest == data.noisy_labels.digest
    assert facts.class_names == ("0", "1", "2", "3")


def test_measured_normalisation_is_that_of_the_training_part():
    raw = raw_data()
    data = build(raw, num_val=40)
    pixels = raw.train.images[data.noisy_labels.index].astype(np.float64) / 255
    mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
    batch = next(iter(data.eval_batches("test")))
    expected = (raw.test.images[:40].astype(np.float64) / 255 - mean) / std
    assert np.allclose(batch.image.permute(0, 2, 3, 1).numpy(), expected, rtol=0, atol=1e-5)


def test_images_of_one_colour_can_be_normalised():
    grey = np.full((40, 3, 3, 1), 7, dtype=np.uint8)
    flat = ImageArrays(grey, np.arange(40) % K)
    batch = next(iter(build(RawData(flat, flat)).eval_batches("test")))
    assert torch.isfinite(batch.image).all()


def test_augmentation_reaches_training_batches_only():
    options = {"mean": [0.0] * 3, "std": [1.0] * 3, "num_val": 40}
    plain, augmented = build(**options), build(**options, augment="weak", padding=2)
    one, other = next(iter(plain.train_dataloader())), next(iter(augmented.train_dataloader()))
    assert one.index.tolist() == other.index.tolist()
    assert not torch.equal(one.image, other.image)
    for name in ("train", "val", "test"):
        pairs = zip(plain.eval_batches(name), augmented.eval_batches(name))
        assert all(torch.equal(a.image, b.image) for a, b in pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 150}, "num_samples says 150, but toy has 200"),
        ({"num_samples": 200, "num_val": 40}, "num_samples says 200, but toy has 160"),
        ({"num_classes": 3}, "label 3, but with 3 classes.*0 to 2"),
        ({"num_classes": 1}, "1 class"),
        ({"num_val": 200}, "num_val is 200, but there are 200"),
        ({"num_val": -1}, "num_val is -1"),
        ({"num_val": 2}, "cannot take 2 of 200"),
        ({"max_train_samples": 0}, "data.max_train_samples must be a whole number of at least 1 or null, got 0"),
        ({"batch_size": 0}, "data.batch_size must be a whole number of at least 1, got 0"),
        ({"eval_batch_size": -5}, "data.eval_batch_size must be a whole number of at least 1, got -5"),
        ({"batch_size": 1.5}, "data.batch_size must be a whole number"),
        ({"num_workers": True}, "data.num_workers must be a whole number.*True"),
        ({"split_seed": "x"}, "data.split_seed must be a whole number.*'x'"),
        ({"labels_are_clean": "maybe"}, "data.labels_are_clean must be true or false, got 'maybe'"),
        ({"flip": "maybe"}, "data.flip must be true or false"),
        ({"num_val": 0.0001}, "num_val is 0.0001, but there are 200"),
        ({"num_val": 1.5}, "whole number or a share below 1, got 1.5"),
        ({"num_val": "abc"}, "whole number or a share below 1, got 'abc'"),
        ({"mean": "abc"}, "data.mean must be a list.*'abc'"),
        ({"mean": [0.5]}, "mean has 1 values.*3 channel"),
        ({"std": [0.2, 0.0, 0.2]}, "std must be above 0"),
    ],
)
def test_values_that_do_not_fit_the_data_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_test_labels_beyond_the_classes_of_the_training_part_are_refused():
    raw = raw_data()
    beyond = RawData(raw.train, ImageArrays(raw.test.images, raw.test.labels + 3))
    with pytest.raises(ValueError, match="label 6, but with 4 classes"):
        build(beyond)


def test_declared_classes_may_exceed_those_that_occur():
    assert build(num_classes=9).facts.num_classes == 9


@pytest.mark.parametrize(
    ("options", "world", "message"),
    [
        ({"batch_size": 63}, 2, "batch_size 63.*2 processes.*multiple of 2"),
        ({"batch_size": 201}, 1, "batch_size 201 exceeds the 200"),
        ({"batch_size": 199}, 1, "only 1 of 199.*data.drop_last=true"),
        ({"batch_size": 66, "num_val": 0}, 2, "only 2 of 66.*2 process"),
        ({"batch_size": 100, "num_val": 4}, 5, "val part has 4 samples for 5 processes"),
    ],
)
def test_processes_that_cannot_share_the_data_are_refused(options, world, message):
    with pytest.raises(ValueError, match=message):
        build(**options).check_processes(world)


@pytest.mark.parametrize(
    ("options", "world"),
    [({"batch_size": 100}, 2), ({"batch_size": 199, "drop_last": True}, 1), ({"batch_size": 66}, 1)],
)
def test_processes_that_can_share_the_data_are_accepted(options, world):
    build(**options).check_processes(world)
    assert len(build(**options).train_dataloader()) >= 1
