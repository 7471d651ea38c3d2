import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.noise.from_file import FileNoise
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import NoiseModel, Samples
from alasca_pl.noise.symmetric import SymmetricNoise

CLEAN = np.random.default_rng(0).integers(0, 5, 60)
INDEX = np.arange(60)


def drawn(index: np.ndarray = INDEX, digest: str | None = None) -> NoisyLabels:
    return SymmetricNoise(0.6, seed=4).draw(Samples(CLEAN[index], index, 5, data_digest=digest))


def samples(index: np.ndarray = INDEX, classes: int = 5, split: str = "train", **options: object) -> Samples:
    return Samples(CLEAN[index], index, classes, split, **options)


def saved(folder: Path, labels: NoisyLabels) -> Path:
    labels.save(folder / "noise.npz")
    return folder / "noise.npz"


def test_a_run_sees_the_labels_that_were_drawn(tmp_path):
    labels = drawn()
    again = FileNoise(saved(tmp_path, labels)).draw(samples())
    assert again.digest == labels.digest
    assert (again.kind, again.rate, again.seed) == ("from_file", 0.6, 4)
    assert again.clean_label.tolist() == CLEAN.tolist()


def test_the_order_in_the_file_makes_no_difference(tmp_path):
    labels, order = drawn(), np.random.default_rng(1).permutation(60)
    mixed = replace(labels, label=labels.label[order], clean_label=CLEAN[order], index=order)
    part = np.array([5, 50, 7])
    found = FileNoise(saved(tmp_path, mixed)).draw(samples(part))
    assert found.label.tolist() == labels.label[part].tolist()


def write_plain(path: Path, label: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, label)
    elif path.suffix == ".npz":
        np.savez(path, label=label)
    else:
        path.write_text("\n".join(map(str, label)) + "\n")
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.txt", "a.csv"])
def test_plain_labels_of_all_samples_in_order(tmp_path, name):
    label = drawn().label
    path = write_plain(tmp_path / name, label)
    part = np.array([59, 0, 8])
    found = FileNoise(path).draw(samples(part))
    assert found.label.tolist() == label[part].tolist()
    assert (found.rate, found.seed) == (None, None)
    assert found.clean_label.tolist() == CLEAN[part].tolist()


def test_other_forms_of_plain_labels(tmp_path):
    label = drawn().label
    np.save(tmp_path / "column.npy", label[:, None].astype(np.uint8))
    (tmp_path / "named.csv").write_text("\ufefflabel\n" + "\r\n".join(map(str, label)) + "\n\n", encoding="utf-8")
    np.savez(tmp_path / "both.npz", label=label, clean_label=CLEAN)
    for name in ("column.npy", "named.csv", "both.npz"):
        assert FileNoise(tmp_path / name).draw(samples()).label.tolist() == label.tolist()


def test_clean_labels_stay_unknown_where_neither_file_nor_data_knows_them(tmp_path):
    path = write_plain(tmp_path / "a.npy", drawn().label)
    assert FileNoise(path).draw(samples(), labels_are_clean=False).clean_label is None
    assert (
        FileNoise(path).draw(samples(), clean_label=CLEAN, labels_are_clean=False).clean_label.tolist()
        == CLEAN.tolist()
    )
    known = FileNoise(saved(tmp_path, drawn())).draw(samples(), labels_are_clean=False)
    assert known.clean_label.tolist() == CLEAN.tolist()


def test_samples_without_a_label_are_refused_with_a_way_out(tmp_path):
    noise = FileNoise(saved(tmp_path, drawn(np.arange(0, 60, 2))))
    assert noise.draw(samples(np.arange(0, 60, 4))).realised_rate > 0
    with pytest.raises(ValueError, match=r"no label for 30 of the 60 .*train split.*position 1;.*alasca-noise make"):
        noise.draw(samples())
    with pytest.raises(ValueError, match=r"no label for 1 of the 1 .*val split.*position 7;.*data\.noisy_val=false"):
        noise.draw(samples(np.array([7]), split="val"))
    with pytest.raises(ValueError, match="position 60"):
        noise.draw(Samples(np.array([0]), np.array([60]), 5))


def test_a_file_for_other_data_is_refused(tmp_path):
    path = saved(tmp_path, drawn())
    other = CLEAN.copy()
    other[[4, 9]] = (other[[4, 9]] + 1) % 5
    with pytest.raises(ValueError, match=r"noise\.npz is for other data.*at 2 of 60 positions.*first at position 4"):
        FileNoise(path).draw(Samples(other, INDEX, 5))
    with pytest.raises(ValueError, match=r"noise\.npz is for other data: it has 5 classes, the data 6"):
        FileNoise(path).draw(samples(classes=6))


@pytest.mark.parametrize(
    ("file", "data", "fits"), [("a", "a", True), ("a", "b", False), (None, "b", True), ("a", None, True)]
)
def test_hashes_of_the_data_must_agree_if_both_are_known(tmp_path, file, data, fits):
    noise = FileNoise(saved(tmp_path, drawn(digest=file)))
    if fits:
        assert noise.draw(samples(data_digest=data)).data_digest == data
        return
    with pytest.raises(ValueError, match=r"for other data: .*hash a, this one has b"):
        noise.draw(samples(data_digest=data))


def test_a_validation_split_of_its_own_keeps_its_labels(tmp_path):
    found = FileNoise(saved(tmp_path, drawn())).draw(samples(split="val", own_split=True))
    assert found.label.tolist() == CLEAN.tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", np.array([0, 5]), "label holds 5 at row 1.*0 to 4"),
        ("a.npy", np.array([0, -1]), "label holds -1"),
        ("a.npy", np.array([0.0, 1.0]), "type float64"),
        ("a.npy", np.zeros((2, 2), dtype=np.int64), r"shape \(2, 2\)"),
        ("a.npy", np.zeros(0, dtype=np.int64), r"shape \(0,\)"),
        ("a.npz", np.array([0, 9]), "label holds 9"),
        ("a.txt", ["0", "1", "cat"], "'cat', which is not a number"),
        ("a.txt", ["0", "1.5"], "type float64"),
        ("a.csv", ["0,1", "2,3"], r"shape \(2, 2\)"),
        ("a.csv", ["0", "2,3"], "different numbers of values"),
        ("a.csv", ["label"], "holds no numbers"),
        ("a.csv", ["1" * 40], "type object"),
        ("a.txt", [], "holds no numbers"),
    ],
)
def test_plain_files_that_are_no_labels_are_refused_by_name(tmp_path, name, content, message):
    path = write_plain(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        FileNoise(path).draw(samples(np.array([0])))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"no array", b"\xff\xfe\x00\x01"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv"])
def test_damaged_files_are_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot use .*{name}"):
        FileNoise(path).draw(samples())


class Canary:
    """Creates a folder if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_pickled_objects_are_refused_and_never_made(tmp_path, name):
    label = np.array([Canary(tmp_path / "canary")], dtype=object)
    save = np.save if name.endswith("npy") else lambda path, label: np.savez(path, label=label)
    save(tmp_path / name, label)
    with pytest.raises(ValueError, match=name):
        FileNoise(tmp_path / name).draw(samples())
    assert not (tmp_path / "canary").exists()


def test_no_file_and_unknown_endings_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"no noise file .*absent\.npz; set noise\.path.*alasca-noise make"):
        FileNoise(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"a\.pt; its name must end in \.npz, \.npy, \.txt, \.csv"):
        FileNoise(tmp_path / "a.pt")


def test_labels_that_were_left_alone_are_left_alone(tmp_path):
    labels = NoiseModel().draw(samples(), labels_are_clean=False)
    found = FileNoise(saved(tmp_path, labels)).draw(samples(), labels_are_clean=False)
    assert found.label.tolist() == CLEAN.tolist()
    assert found.clean_label is None
