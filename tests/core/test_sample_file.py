"""``samples.npz``: what is written is read back, and nothing else is read."""

from pathlib import Path

import numpy as np
import pytest

from alasca_pl.core.sample_file import SampleFile


def file_of(names: list[str] | None = None) -> SampleFile:
    return SampleFile(
        np.array([0, 2, 1]), np.array([5, 6, 9]), np.array([3, 3, 0]), None if names is None else np.array(names),
        {"margin": np.array([[0.5, -1.0, np.nan]], dtype=np.float32), "wrong_events": np.array([[0, 3, 0]])},
    )  # fmt: skip


@pytest.mark.parametrize("names", [None, ["a/1.png", "b/ü \n.png", "c/<img>.png"]])
def test_what_was_written_is_read_back(names: list[str] | None, tmp_path: Path):
    file_of(names).save(tmp_path / "samples.npz")
    back = SampleFile.load(tmp_path / "samples.npz")
    assert back.label.tolist() == [0, 2, 1]
    assert back.index.tolist() == [5, 6, 9]
    assert back.visits.tolist() == [3, 3, 0]
    assert (None if back.names is None else back.names.tolist()) == names
    np.testing.assert_array_equal(back.evidence["margin"], [[0.5, -1.0, np.nan]])
    assert back.evidence["wrong_events"].tolist() == [[0, 3, 0]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.zeros(3)}, "label has type float64"),
        ({"index": np.zeros(2, dtype=np.int64)}, "index has type int64 and shape .2,."),
        ({"names": np.array([object()] * 3)}, "pickled"),
        ({"evidence/margin": np.zeros((1, 4))}, r"margin has type float64 and shape .1, 4."),
    ],
)
def test_other_content_is_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path):
    good = {name: np.zeros(3, dtype=np.int64) for name in ("label", "index", "visits")}
    np.savez(tmp_path / "samples.npz", **(good | arrays))
    with pytest.raises(ValueError, match=message):
        SampleFile.load(tmp_path / "samples.npz")
