import numpy as np
import pytest
from matplotlib.figure import Figure

from alasca_pl.report.matrix_plot import plot_matrix


def drawn(monkeypatch, tmp_path, matrix: np.ndarray, names: list[str]) -> Figure:
    kept = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (kept.append(self), save(self, *args, **kwargs))
    )
    plot_matrix(matrix, names, "title", tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
    return kept[0]


def test_values_and_names_are_written_where_there_is_room(monkeypatch, tmp_path):
    matrix = np.array([[0.75, 0.25, 0.0], [0.001, 0.999, 0.0], [0.0, 0.0, 0.0]])
    axes, bar = drawn(monkeypatch, tmp_path, matrix, ["cat", "a $dog$", "no_sample"]).axes
    assert [text.get_text() for text in axes.texts] == ["0.75", "0.25", "<.01", "1.00"]
    # Observed classes run to the right, clean ones downwards.
    assert [text.get_position() for text in axes.texts[:2]] == [(0, 0), (1, 0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "a $dog$", "no_sample"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("observed class", "clean class")
    assert bar.get_ylabel() == "P(observed | clean)"
    assert axes.images[0].get_array().mask.tolist() == [[False] * 3, [False] * 3, [True] * 3]


@pytest.mark.parametrize(("classes", "ticks"), [(20, 20), (21, 21), (100, 20), (1000, 20)])
def test_no_more_ticks_than_can_be_read(monkeypatch, tmp_path, classes, ticks):
    axes = drawn(monkeypatch, tmp_path, np.eye(classes), [f"class {k}" for k in range(classes)]).axes[0]
    assert len(axes.get_xticks()) == ticks
    assert len(axes.texts) == (20 if classes == 20 else 0)
