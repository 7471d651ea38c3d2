import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.data.npz import read_npz


class Canary:
    """Creates a folder if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def arrays(*shape: int, train: int = 6, test: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (train, *shape)).astype(np.uint8),
        "train_labels": np.arange(train) % 3,
        "test_images": rng.integers(0, 256, (test, *shape)).astype(np.uint8),
        "test_labels": np.arange(test) % 3,
    }


def save(folder: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(folder / "data.npz", **content)
    return folder / "data.npz"


@pytest.mark.parametrize(
    ("shape", "read"),
    [((5, 4), (5, 4, 1)), ((5, 4, 1), (5, 4, 1)), ((5, 4, 3), (5, 4, 3)), ((5, 4, 4), (5, 4, 3))],
    ids=["grey 3-D", "grey 4-D", "RGB", "RGBA"],
)
def test_images_of_every_kind_are_read(tmp_path, shape, read):
    content = arrays(*shape)
    raw = read_npz(save(tmp_path, content))
    assert raw.train.images.shape == (6, *read)
    assert raw.test.images.shape == (4, *read)
    expected = content["train_images"].reshape(6, 5, 4, -1)[..., : read[2]]
    assert np.array_equal(raw.train.images, expected)
    assert raw.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert raw.val is None


def test_labels_in_a_column_are_read(tmp_path):
    content = arrays(4, 4)
    content |= {name: content[name][:, None].astype(np.uint8) for name in ("train_labels", "test_labels")}
    raw = read_npz(save(tmp_path, content))
    assert raw.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert raw.train.labels.dtype == np.int64


def test_validation_split_is_read_if_it_is_there(tmp_path):
    content = arrays(4, 4)
    raw = read_npz(
        save(tmp_path, content | {"val_images": content["test_images"], "val_labels": np.array([2, 2, 1, 0])})
    )
    assert raw.val is not None
    assert np.array_equal(raw.val.images, raw.test.images)
    assert raw.val.labels.tolist() == [2, 2, 1, 0]


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_missing_key_is_named(tmp_path, key):
    content = arrays(4, 4)
    del content[key]
    with pytest.raises(ValueError, match=rf"data\.npz: lacks {key}; it holds "):
        read_npz(save(tmp_path, content))


def test_validation_images_without_labels_are_refused(tmp_path):
    content = arrays(4, 4)
    with pytest.raises(ValueError, match="val_labels"):
        read_npz(save(tmp_path, content | {"val_images": content["test_images"]}))


@pytest.mark.parametrize("key", ["train_images", "train_labels", "val_images", "test_labels"])
def test_pickled_objects_are_refused_and_never_made(tmp_path, key):
    content = arrays(4, 4) | {key: np.array([Canary(tmp_path / "canary")], dtype=object)}
    np.savez(tmp_path / "data.npz", allow_pickle=True, **content)
    with pytest.raises(ValueError, match=r"data\.npz"):
        read_npz(tmp_path / "data.npz")
    assert not (tmp_path / "canary").exists()


def test_a_pickle_in_place_of_the_file_is_refused_and_never_opened(tmp_path):
    (tmp_path / "data.npz").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(ValueError, match=r"data\.npz"):
        read_npz(tmp_path / "data.npz")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": np.array([0, 1, -1, 0, 1, 2])}, "train_labels holds label -1"),
        ({"train_labels": np.array([0, 1])}, "6 images, but train_labels 2 labels"),
        ({"test_labels": np.zeros((4, 2), dtype=int)}, "test_labels has type int64 and shape"),
        ({"train_labels": np.linspace(0, 1, 6)}, "train_labels has type float64"),
        ({"train_images": np.zeros((6, 4, 4), dtype=np.float32)}, "train_images has type float32"),
        ({"train_images": np.zeros((6, 4, 4, 2), dtype=np.uint8)}, "train_images has shape"),
        ({"test_images": np.zeros((4, 5, 4), dtype=np.uint8)}, "differ in size or channels"),
        ({"test_images": np.zeros((4, 4, 4, 3), dtype=np.uint8)}, "differ in size or channels"),
        ({"test_images": np.zeros((0, 4, 4), dtype=np.uint8), "test_labels": np.zeros(0, dtype=int)}, "no image"),
    ],
)
def test_arrays_that_are_no_images_and_labels_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"data\.npz: .*{message}"):
        read_npz(save(tmp_path, arrays(4, 4) | change))


@pytest.mark.parametrize("keep", [0, 1, 200, -40])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = save(tmp_path, arrays(8, 8))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"data\.npz"):
        read_npz(path)


@pytest.mark.parametrize("where", [0.05, 0.2, 0.4])
def test_damage_within_the_file_is_refused_by_name(tmp_path, where):
    path = save(tmp_path, arrays(32, 32))
    content = bytearray(path.read_bytes())
    start = int(where * len(content))
    content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz"):
        read_npz(path)


def test_a_single_array_in_place_of_the_file_is_refused_by_name(tmp_path):
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "data.npz")
    with pytest.raises(ValueError, match=r"data\.npz"):
        read_npz(tmp_path / "data.npz")


def test_an_absent_file_is_named_with_the_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz; set data\.path"):
        read_npz(tmp_path / "absent.npz")


def test_a_file_needs_no_test_split(tmp_path):
    content = {name: array for name, array in arrays(4, 4).items() if name.startswith("train")}
    assert read_npz(save(tmp_path, content)).test is None


def test_clean_labels_and_names_of_classes_are_read(tmp_path):
    content = arrays(4, 4)
    content |= {"val_images": content["test_images"], "val_labels": np.array([2, 2, 1, 0])}
    content |= {
        "train_clean_labels": np.array([[2], [1], [0], [0], [1], [3]]),
        "val_clean_labels": np.zeros(4, np.uint8),
        "test_clean_labels": np.array([1, 1, 2, 0]),
    }
    raw = read_npz(save(tmp_path, content | {"class_names": np.array(["a", "bö <b>", "c", "d"])}))
    assert raw.train.clean.tolist() == [2, 1, 0, 0, 1, 3] and raw.train.clean.dtype == np.int64
    assert raw.val.clean.tolist() == [0, 0, 0, 0]
    assert raw.test.clean.tolist() == [1, 1, 2, 0]
    assert raw.class_names == ("a", "bö <b>", "c", "d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_clean_labels": np.array([0, 1])}, "train_clean_labels holds 2 labels, but train_labels 6"),
        ({"train_clean_labels": np.array([0, 1, -1, 0, 1, 2])}, "train_clean_labels holds label -1"),
        ({"train_clean_labels": np.zeros(6)}, "train_clean_labels has type float64"),
        ({"val_clean_labels": np.zeros(4, int)}, "lacks val_images"),
        ({"class_names": np.array(["a", "b"])}, "class_names holds 2 names, but there is a label 2"),
        ({"class_names": np.arange(3)}, "class_names has type int64"),
        ({"class_names": np.array(["a", "b", "c"], dtype=object)}, "class_names holds pickled objects"),
    ],
)
def test_wrong_clean_labels_and_names_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"data\.npz: .*{message}"):
        read_npz(save(tmp_path, arrays(4, 4) | change))
