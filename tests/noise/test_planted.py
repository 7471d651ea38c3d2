"""Planted errors: as many as asked for, elsewhere than the label, recorded and read back."""

from pathlib import Path

import numpy as np
import pytest

from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.planted import plant_errors


def labels(count: int = 1000) -> NoisyLabels:
    label = np.arange(count) % 5
    return NoisyLabels(label, None, np.arange(count) + 3, 5, "none", None, None)


def test_planted_errors_are_recorded_and_read_back(tmp_path: Path):
    before = labels()
    planted = plant_errors(before, 0.02, seed=0)
    rows = np.flatnonzero(planted.label != before.label)
    assert len(rows) == 20 and planted.planted_from is not None
    assert planted.planted_from[rows].tolist() == before.label[rows].tolist()
    assert (np.delete(planted.planted_from, rows) == -1).all()
    assert planted.digest != before.digest
    planted.save(tmp_path / "noise.npz")
    assert NoisyLabels.load(tmp_path / "noise.npz").planted_from.tolist() == planted.planted_from.tolist()
    before.save(tmp_path / "none.npz")
    assert NoisyLabels.load(tmp_path / "none.npz").planted_from is None


def test_each_other_class_is_as_likely():
    before = labels(20000)
    planted = plant_errors(before, 0.5, seed=1)
    change = (planted.label - before.label)[planted.planted_from >= 0] % 5
    assert np.bincount(change, minlength=5)[0] == 0
    assert np.bincount(change, minlength=5)[1:] == pytest.approx(2500, rel=0.1)


def test_none_planted_is_the_same_object():
    before = labels()
    assert plant_errors(before, 0.0, seed=0) is before


@pytest.mark.parametrize("fraction", [-0.1, 0.6, True, "2%", float("nan")])
def test_other_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=r"audit\.plant must lie in"):
        plant_errors(labels(), fraction, seed=0)
