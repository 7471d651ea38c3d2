import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from alasca_pl.noise.human import HumanNoise
from alasca_pl.noise.model import Samples

RATES = {"aggre": 0.1, "worse": 0.4, "random1": 0.17, "random2": 0.18, "random3": 0.19}


def disturbed(label: np.ndarray, rate: float, classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(label)) < rate
    return np.where(wrong, (label + rng.integers(1, classes, len(label))) % classes, label)


def write_ten(folder: Path, **change: object) -> dict[str, np.ndarray]:
    """A small file of the structure of CIFAR-10N's."""
    clean = np.random.default_rng(0).integers(0, 10, 400)
    names = ("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
    content = {"clean_label": clean}
    content |= {name: disturbed(clean, rate, 10, k) for k, (name, rate) in enumerate(zip(names, RATES.values()))}
    content |= change
    torch.save({name: value for name, value in content.items() if value is not None}, folder / "CIFAR-10_human.pt")
    return content


def write_hundred(folder: Path) -> dict[str, np.ndarray]:
    """A small file of the structure of CIFAR-100N's, whose coarse labels are lists."""
    clean = np.random.default_rng(0).integers(0, 100, 400)
    noisy = disturbed(clean, 0.4, 100, 1)
    content = {"clean_label": clean, "noisy_label": noisy}
    content |= {"clean_coarse_label": (clean // 5).tolist(), "noisy_coarse_label": (noisy // 5).tolist()}
    torch.save(content, folder / "CIFAR-100_human.pt")
    return content


def samples(label: np.ndarray, classes: int = 10, index: np.ndarray | None = None, **options: object) -> Samples:
    index = np.arange(len(label)) if index is None else index
    return Samples(np.asarray(label)[index].astype(np.int64), index, classes, **options)


def noise(folder: Path, labels: str | None = None) -> HumanNoise:
    return HumanNoise(folder, labels=labels, check_md5=False)


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ("clean", "clean_label"),
        ("aggre", "aggre_label"),
        ("rand1", "random_label1"),
        ("rand2", "random_label2"),
        ("rand3", "random_label3"),
        ("worst", "worse_label"),
        (None, "worse_label"),
    ],
)
def test_labels_of_ten_classes_are_looked_up_by_position(tmp_path, labels, key):
    content = write_ten(tmp_path)
    index = np.array([399, 3, 4, 17])
    drawn = noise(tmp_path, labels).draw(samples(content["clean_label"], index=index))
    assert drawn.label.tolist() == content[key][index].tolist()
    assert drawn.clean_label.tolist() == content["clean_label"][index].tolist()
    assert (drawn.kind, drawn.rate, drawn.seed, drawn.num_classes) == ("human", None, None, 10)
    assert drawn.index is index


@pytest.mark.parametrize(
    ("labels", "observed", "clean", "classes"),
    [
        ("fine", "noisy_label", "clean_label", 100),
        ("noisy100", "noisy_label", "clean_label", 100),
        (None, "noisy_label", "clean_label", 100),
        ("clean100", "clean_label", "clean_label", 100),
        ("coarse", "noisy_coarse_label", "clean_coarse_label", 20),
        (None, "noisy_coarse_label", "clean_coarse_label", 20),
        ("clean_coarse", "clean_coarse_label", "clean_coarse_label", 20),
    ],
)
def test_labels_of_a_hundred_classes_and_their_superclasses(tmp_path, labels, observed, clean, classes):
    content = write_hundred(tmp_path)
    drawn = noise(tmp_path, labels).draw(samples(content[clean], classes))
    assert drawn.label.tolist() == list(content[observed])
    assert drawn.label.dtype == np.int64


def test_train_and_validation_split_find_their_own_rows(tmp_path):
    content = write_ten(tmp_path)
    model = noise(tmp_path, "aggre")
    for split, index in (("train", np.arange(0, 400, 2)), ("val", np.arange(1, 400, 2))):
        drawn = model.draw(samples(content["clean_label"], index=index, split=split))
        assert drawn.label.tolist() == content["aggre_label"][index].tolist()


def test_data_in_another_order_is_refused_with_the_first_difference(tmp_path):
    content = write_ten(tmp_path)
    permuted = content["clean_label"].copy()
    permuted[[7, 8, 11]] = (permuted[[7, 8, 11]] + 1) % 10
    says, has = int(content["clean_label"][7]), int(permuted[7])
    with pytest.raises(ValueError, match=rf"another order.*3 of 400 .*position 7 \({says} in the file, {has} in"):
        noise(tmp_path).draw(samples(permuted))


def test_data_of_another_size_is_refused(tmp_path):
    content = write_ten(tmp_path)
    longer = np.concatenate([content["clean_label"], [1, 2]])
    with pytest.raises(ValueError, match=r"no label for 2 of the 402 samples of the train split.*position 400.*50,000"):
        noise(tmp_path).draw(samples(longer))


def test_the_file_is_compared_with_labels_known_to_be_right_if_there_are_any(tmp_path):
    content = write_ten(tmp_path)
    doubtful = samples(content["random_label1"])
    drawn = noise(tmp_path).draw(doubtful, clean_label=content["clean_label"], labels_are_clean=False)
    assert drawn.label.tolist() == content["worse_label"].tolist()
    with pytest.raises(ValueError, match="another order"):
        noise(tmp_path).draw(doubtful, labels_are_clean=False)


def test_a_validation_split_of_its_own_keeps_its_labels_and_says_so(tmp_path, caplog):
    write_ten(tmp_path)
    with caplog.at_level(logging.INFO):
        drawn = noise(tmp_path).draw(samples(np.arange(30) % 10, split="val", own_split=True))
    assert drawn.label.tolist() == (np.arange(30) % 10).tolist()
    assert drawn.own_split
    assert "val split is the data set's own and keeps its labels" in caplog.text


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ("worst", 100, "'worst' have 10 classes, but the data has 100; choose one of fine, noisy100, clean100"),
        ("fine", 10, "'fine' have 100 classes, but the data has 10; choose one of clean, aggre"),
        (
            "coarse",
            100,
            "'coarse' have 20 classes.*100; give CIFAR-100 with its 20 superclasses.*or choose one of fine",
        ),
        (None, 7, "10, 20 or 100 classes of CIFAR, but the data has 7"),
    ],
)
def test_labels_for_another_number_of_classes_are_refused(tmp_path, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        noise(tmp_path, labels).draw(samples(np.arange(30) % 7, classes))


def test_wrong_options_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"'worse'.*clean, aggre, rand1, rand2, rand3, worst, fine"):
        HumanNoise(tmp_path, labels="worse")
    with pytest.raises(ValueError, match=r"noise\.path=FILE"):
        HumanNoise()


def test_a_missing_file_is_named_with_where_it_is_published(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*CIFAR-10_human\.pt.*UCSC-REAL/cifar-10-100n.*noise\.path"):
        noise(tmp_path).draw(samples(np.arange(30) % 10))


def test_a_file_that_is_not_the_published_one_is_refused_unless_allowed(tmp_path):
    content = write_ten(tmp_path)
    with pytest.raises(ValueError, match=r"expected MD5 96644db5574813cae939af5f7f2a0aec, got .*check_md5=false"):
        HumanNoise(tmp_path).draw(samples(content["clean_label"]))
    path = (tmp_path / "CIFAR-10_human.pt").rename(tmp_path / "mine.pt")
    drawn = HumanNoise(path=path, check_md5=False).draw(samples(content["clean_label"]))
    assert drawn.label.tolist() == content["worse_label"].tolist()


class Canary:
    """Creates a folder if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_file_is_refused_and_nothing_of_it_runs(tmp_path):
    write_ten(tmp_path, worse_label=Canary(tmp_path / "canary"))
    with pytest.raises(ValueError, match="unsafe to load"):
        noise(tmp_path).draw(samples(np.arange(30) % 10))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worse_label": None}, "lacks worse_label; it holds clean_label"),
        ({"worse_label": np.full(400, 10)}, "worse_label holds 10 at row 0.*0 to 9"),
        ({"worse_label": np.zeros(399, dtype=np.int64)}, "worse_label has 399 labels, but clean_label has 400"),
        ({"worse_label": np.zeros((400, 2), dtype=np.int64)}, "worse_label is not a list of whole numbers"),
        ({"worse_label": "nothing"}, "worse_label is not a list of whole numbers"),
        ({"worse_label": [1, [2, 3]]}, "worse_label is not a list of whole numbers"),
        ({"worse_label": [0.5] * 400}, "worse_label is not a list of whole numbers"),
        ({"worse_label": [10**30] * 400}, "worse_label is not a list of whole numbers"),
    ],
)
def test_a_file_of_another_structure_is_refused(tmp_path, change, message):
    content = write_ten(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        noise(tmp_path).draw(samples(content["clean_label"]))


@pytest.mark.parametrize(
    ("file", "labels", "classes", "rate"),
    [
        ("CIFAR-10_human.pt", "clean", 10, 0.0),
        ("CIFAR-10_human.pt", "aggre", 10, 0.0901),
        ("CIFAR-10_human.pt", "rand1", 10, 0.1723),
        ("CIFAR-10_human.pt", "rand2", 10, 0.1812),
        ("CIFAR-10_human.pt", "rand3", 10, 0.1764),
        ("CIFAR-10_human.pt", "worst", 10, 0.4021),
        ("CIFAR-100_human.pt", "fine", 100, 0.4020),
        ("CIFAR-100_human.pt", "coarse", 20, 0.2640),
    ],
)
def test_the_published_files_have_the_published_rates(file, labels, classes, rate):
    """Rates of UCSC-REAL/cifar-10-100n: 9.01 %, 17.23 %, 18.12 %, 17.64 %, 40.21 %, 40.20 %, 26.40 %."""
    root = Path(os.environ.get("ALASCA_DATA", "data"))
    if not (root / file).is_file():
        pytest.skip(f"{file} is not there")
    recorded = HumanNoise(root, labels=labels).recorded(classes)
    assert len(recorded.label) == 50_000
    assert recorded.realised_rate == pytest.approx(rate, abs=5e-5)
