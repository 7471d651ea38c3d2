import numpy as np
import pytest
import torch
from toy_data import K, build, raw_data

from alasca_pl.data.samples import ImageArrays, RawData
from alasca_pl.noise.symmetric import SymmetricNoise


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


def test_without_validation_only_the_test_split_is_measured():
    data = build()
    assert data.val_labels is None
    assert list(data.val_dataloader()) == ["test"]
    with pytest.raises(ValueError, match=r"'val'.*train, test"):
        data.eval_batches("val")


def test_training_batches_carry_the_observed_labels():
    data = build(num_val=40)
    for batch in data.train_dataloader():
        assert batch.label.tolist() == data.noisy_labels.label[batch.index.numpy()].tolist()


def test_runs_with_other_seeds_share_the_noise_and_differ_in_order():
    one, other = (build(noise=SymmetricNoise(0.5, seed=3), num_val=40, split_seed=1, seed=s) for s in (0, 1))
    assert one.facts.noise_digest == other.facts.noise_digest
    assert one.val_labels.digest == other.val_labels.digest
    assert next(iter(one.train_dataloader())).index.tolist() != next(iter(other.train_dataloader())).index.tolist()


def test_measured_normalisation_is_that_of_the_training_split():
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
    ("options", "world", "message"),
    [
        ({"batch_size": 63}, 2, "batch_size 63.*2 processes.*multiple of 2"),
        ({"batch_size": 201}, 1, "batch_size 201 exceeds the 200"),
        ({"batch_size": 199}, 1, "only 1 of 199.*data.drop_last=true"),
        ({"batch_size": 66, "num_val": 0}, 2, "only 2 of 66.*2 process"),
        ({"batch_size": 100, "num_val": 4}, 5, "val split has 4 samples for 5 processes"),
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


def test_noise_reaches_training_and_validation_but_never_the_test_split():
    raw = raw_data()
    before = raw.train.labels.copy(), raw.test.labels.copy()
    data = build(raw, SymmetricNoise(1.0, "exclusive"), num_val=40)
    assert data.noisy_labels.realised_rate == 1.0
    assert data.val_labels.realised_rate == 1.0
    test = torch.cat([batch.label for batch in data.eval_batches("test")])
    assert test.tolist() == (np.arange(40) % K).tolist()
    assert np.array_equal(raw.train.labels, before[0])
    assert np.array_equal(raw.test.labels, before[1])
