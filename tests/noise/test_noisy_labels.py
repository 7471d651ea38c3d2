import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import NoiseModel, Samples


def example(clean: bool = True) -> NoisyLabels:
    return NoisyLabels(
        label=np.array([0, 1, 1, 2, 0, 1]),
        clean_label=np.array([0, 0, 1, 2, 2, 1]) if clean else None,
        index=np.array([3, 5, 6, 8, 9, 11]),
        num_classes=4,
        kind="symmetric",
        rate=0.4,
        seed=7,
    )


class Canary:
    """Creates a file if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_realised_rate_and_transition_matrix_by_hand():
    labels = example()
    assert labels.realised_rate == pytest.approx(2 / 6)
    # Class 0: one right, one seen as 1. Class 1: both right. Class 2: one right, one seen as 0. Class 3: absent.
    expected = [[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 0]]
    assert labels.transition_matrix.tolist() == expected


def test_rates_by_class_by_hand():
    assert example().class_rates == pytest.approx([0.5, 0.0, 0.5, float("nan")], nan_ok=True)


def test_unknown_clean_labels_give_neither_rate_nor_matrix():
    assert example(clean=False).realised_rate is None
    assert example(clean=False).class_rates is None
    assert example(clean=False).transition_matrix is None


def test_digest_is_the_sha256_of_what_is_trained_on():
    content = b"4" + b"".join(int(n).to_bytes(8, "little") for n in (0, 1, 1, 2, 0, 1, 3, 5, 6, 8, 9, 11))
    assert example().digest == hashlib.sha256(content).hexdigest()
    assert example(clean=False).digest == example().digest


@pytest.mark.parametrize(
    "change",
    [{"label": np.array([0, 1, 1, 2, 0, 2])}, {"index": np.array([3, 5, 6, 8, 9, 10])}, {"num_classes": 5}],
)
def test_digest_changes_with_labels_positions_and_classes(change):
    assert replace(example(), **change).digest != example().digest


def test_digest_does_not_depend_on_the_integer_type():
    labels = example()
    assert replace(labels, label=labels.label.astype(np.int32)).digest == labels.digest


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(("rate", "seed"), [(0.4, 7), (None, None), (0.0, 0)])
def test_saved_labels_come_back_whole(tmp_path, clean, rate, seed):
    labels = replace(example(clean), rate=rate, seed=seed)
    labels.save(tmp_path / "deeper" / "noise.npz")
    back = NoisyLabels.load(tmp_path / "deeper" / "noise.npz")
    assert back.digest == labels.digest
    assert (back.num_classes, back.kind, back.rate, back.seed) == (4, "symmetric", rate, seed)
    assert back.label.tolist() == labels.label.tolist()
    assert back.index.tolist() == labels.index.tolist()
    assert (back.clean_label is None) == (not clean)
    if clean:
        assert back.clean_label.tolist() == labels.clean_label.tolist()
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["noise.npz"]


@pytest.mark.parametrize("digest", [None, "pixels:0a1b"])
def test_the_hash_of_the_data_comes_back_and_does_not_change_the_digest(tmp_path, digest):
    labels = replace(example(), data_digest=digest)
    labels.save(tmp_path / "noise.npz")
    assert NoisyLabels.load(tmp_path / "noise.npz").data_digest == digest
    assert labels.digest == example().digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.array([0, 1, 1, 2, 0, 4])}, "label holds 4 at row 5.*0 to 3"),
        ({"label": np.array([0, 1, -1, 2, 0, 1])}, "label holds -1 at row 2"),
        ({"clean_label": np.array([7, 0, 1, 2, 2, 1])}, "clean_label holds 7"),
        ({"label": np.array([0.0, 1, 1, 2, 0, 1])}, "label has type float64"),
        ({"label": np.array([0, 1, 1, 2, 0, 1], dtype=np.int32)}, "label has type int32"),
        ({"label": np.zeros((6, 1), dtype=np.int64)}, r"label has type int64 and shape \(6, 1\)"),
        ({"label": np.zeros(0, dtype=np.int64)}, "label is empty"),
        ({"index": np.array([3, 5, 6, 8, 9])}, "label has 6 values, but index 5"),
        ({"clean_label": np.array([0, 0])}, "label has 6 values, but clean_label 2"),
        ({"index": np.array([3, 5, 6, 8, 9, 3])}, "index holds position 3 more than once"),
        ({"index": np.array([3, 5, 6, 8, 9, -1])}, "index holds -1"),
        ({"rate": np.float64(np.inf)}, "rate is inf"),
        ({"rate": np.float64(1.5)}, "rate is 1.5"),
        ({"rate": np.zeros(2)}, r"rate has type float64 and shape \(2,\)"),
        ({"num_classes": np.int64(0)}, "num_classes is 0"),
        ({"num_classes": np.float64(4)}, "num_classes has type float64"),
        ({"kind": np.float64(4)}, "kind has type float64"),
        ({"seed": np.str_("x")}, "seed has type"),
        ({"data_digest": np.int64(1)}, "data_digest has type int64"),
    ],
)
def test_a_file_with_one_wrong_field_is_refused_by_name(tmp_path, change, message):
    example().save(tmp_path / "noise.npz")
    with np.load(tmp_path / "noise.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "wrong.npz", **(arrays | change))
    with pytest.raises(ValueError, match=rf"cannot use .*wrong\.npz: {message}"):
        NoisyLabels.load(tmp_path / "wrong.npz")


@pytest.mark.parametrize("field", ["label", "index", "clean_label", "kind", "rate"])
def test_pickled_objects_in_the_file_are_refused_and_never_made(tmp_path, field):
    example().save(tmp_path / "noise.npz")
    with np.load(tmp_path / "noise.npz") as file:
        arrays = dict(file)
    arrays[field] = np.array([Canary(tmp_path / "canary")], dtype=object)
    np.savez(tmp_path / "evil.npz", allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=r"evil\.npz"):
        NoisyLabels.load(tmp_path / "evil.npz")
    assert not (tmp_path / "canary").exists()


def test_a_pickle_in_place_of_the_file_is_refused_and_never_opened(tmp_path):
    (tmp_path / "noise.npz").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(ValueError, match=r"noise\.npz"):
        NoisyLabels.load(tmp_path / "noise.npz")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -30])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "noise.npz"
    example().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"noise\.npz"):
        NoisyLabels.load(path)


def test_a_file_of_something_else_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    for name in ("other.npz", "single.npz", "absent.npz"):
        with pytest.raises(ValueError, match=name):
            NoisyLabels.load(tmp_path / name)


def test_no_noise_leaves_labels_alone():
    label = np.array([2, 0, 1])
    labels = NoiseModel().draw(Samples(label, np.arange(3), 3))
    assert labels.label.tolist() == [2, 0, 1]
    assert not np.shares_memory(labels.label, label)
    assert (labels.kind, labels.rate, labels.seed, labels.realised_rate) == ("none", None, None, 0.0)


def test_doubtful_labels_without_added_noise_have_no_clean_labels():
    labels = NoiseModel().draw(Samples(np.array([2, 0, 1]), np.arange(3), 3), labels_are_clean=False)
    assert labels.clean_label is None
