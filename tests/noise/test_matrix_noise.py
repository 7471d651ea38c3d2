import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.noise.from_file import FileNoise
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.matrix import MatrixNoise
from alasca_pl.noise.model import Samples, draw_from_matrix

MATRIX = [[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]]


def samples(size: int = 30_000, classes: int = 3) -> Samples:
    return Samples(np.arange(size) % classes, np.arange(size), classes)


def assert_near(measured: np.ndarray, expected: np.ndarray, count: int) -> None:
    """Every cell is a binomial share of ``count`` samples; 5 sd."""
    for cell, probability in zip(measured.ravel(), np.asarray(expected).ravel()):
        assert cell == pytest.approx(probability, abs=5 * math.sqrt(probability * (1 - probability) / count))


def recorded(folder: Path, label: list[int], clean: list[int] | None, classes: int = 3) -> FileNoise:
    clean_label = None if clean is None else np.array(clean)
    labels = NoisyLabels(np.array(label), clean_label, np.arange(len(label)), classes, "human", None, None)
    labels.save(folder / "recorded.npz")
    return FileNoise(folder / "recorded.npz")


def test_labels_follow_the_given_matrix():
    labels = MatrixNoise(MATRIX).draw(samples())
    assert_near(labels.transition_matrix, MATRIX, 10_000)
    assert (labels.kind, labels.rate, labels.seed) == ("matrix", None, 0)


@pytest.mark.parametrize("name", ["m.npy", "m.csv", "m.txt"])
def test_the_matrix_may_come_from_a_file(tmp_path, name):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.array(MATRIX))
    else:
        path.write_text("\n".join(("," if name.endswith("csv") else " ").join(map(str, row)) for row in MATRIX))
    assert MatrixNoise(path).draw(samples(300)).digest == MatrixNoise(MATRIX).draw(samples(300)).digest


def test_the_matrix_of_recorded_labels_is_normalised_by_the_number_of_samples_of_each_clean_class(agreement, tmp_path):
    """By hand, with classes of different sizes: 0 is seen as 0, 0, 0, 1; 1 as 1, 2; 2 as 2."""
    like = recorded(tmp_path, [0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 2])
    noise = MatrixNoise(like=like)
    expected = [[0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    agreement(MatrixNoise, "estimated transition matrix", noise.for_classes(3), expected, atol=1e-15)
    assert_near(noise.draw(samples()).transition_matrix, expected, 10_000)


def test_a_class_without_recorded_labels_keeps_its_own(tmp_path):
    noise = MatrixNoise(like=recorded(tmp_path, [1, 1], [0, 1]))
    assert noise.for_classes(3).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert noise.draw(samples(3)).label.tolist() == [1, 1, 2]


def test_splits_that_are_not_recorded_are_drawn_all_the_same(tmp_path):
    noise = MatrixNoise(like=recorded(tmp_path, [1, 1, 2], [0, 1, 2]))
    drawn = noise.draw(replace(samples(3), index=np.array([70, 80, 90]), split="val", own_split=True))
    assert drawn.label.tolist() == [1, 1, 2]


def test_recorded_labels_without_clean_ones_give_no_matrix(tmp_path):
    with pytest.raises(ValueError, match=r"recorded\.npz has no clean labels.*alasca-noise make"):
        MatrixNoise(like=recorded(tmp_path, [0, 1], None)).draw(samples(3))


def test_recorded_labels_of_other_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="it has 3 classes, the data 4"):
        MatrixNoise(like=recorded(tmp_path, [0, 1], [0, 1])).draw(samples(8, 4))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.4], [0, 1]], "row 0 of the noise matrix sums to 0.9;"),
        ([[1.5, -0.5], [0, 1]], r"holds 1.5; probabilities lie in \[0, 1\]"),
        ([[float("nan"), 1], [0, 1]], "holds nan"),
        ([[0.5, 0.5]], r"shape \(1, 2\).*K rows of K numbers"),
        ([0.5, 0.5], r"shape \(2,\)"),
        ([[1, 0], [1]], "cannot use the noise matrix"),
        ([["a"]], "cannot use the noise matrix"),
        ("m.pt", r"m\.pt.*\.npy, \.txt or \.csv"),
        ("absent.csv", r"absent\.csv"),
    ],
)
def test_what_is_no_matrix_of_probabilities_is_refused_at_once(matrix, message):
    with pytest.raises(ValueError, match=message):
        MatrixNoise(matrix)


def test_a_matrix_for_other_classes_and_neither_or_both_are_refused(tmp_path):
    with pytest.raises(ValueError, match="for 3 classes, but the data has 10"):
        MatrixNoise(MATRIX).draw(samples(20, 10))
    with pytest.raises(ValueError, match="got neither"):
        MatrixNoise()
    with pytest.raises(ValueError, match="got both"):
        MatrixNoise(MATRIX, recorded(tmp_path, [0], [0]))
    with pytest.raises(ValueError, match="got MatrixNoise"):
        MatrixNoise(like=MatrixNoise(MATRIX))


class Fixed(np.random.Generator):
    """Deals given numbers."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.numbers = numbers

    def random(self, size: int) -> np.ndarray:
        return np.array(self.numbers[:size])


def test_a_number_below_one_never_falls_on_a_class_of_probability_zero():
    # In floating point, ten times 0.1 is a little less than 1.
    matrix = np.zeros((12, 12))
    matrix[:, :10] = 0.1
    assert np.cumsum(matrix[0])[-1] < 1
    highest = np.nextafter(1.0, 0.0)
    assert draw_from_matrix(np.array([0, 3]), matrix, Fixed(highest, 0.0)).tolist() == [9, 0]


def test_memory_does_not_grow_with_samples_times_classes():
    """300,000 samples with 100 classes in one piece would take 240 MB."""
    many = samples(300_000, 100)
    tracemalloc.start()
    try:
        MatrixNoise(np.full((100, 100), 0.01).tolist()).draw(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120e6
