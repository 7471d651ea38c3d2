import numpy as np
import pytest
from matplotlib.figure import Figure

from alasca_pl.report.matrix_plot import frequent_confusions, plot_matrix


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


@pytest.mark.parametrize(("classes", "ticks"), [(20, 20), (21, 21), (100, 100), (1000, 20)])
def test_no_more_ticks_than_can_be_read(monkeypatch, tmp_path, classes, ticks):
    axes = drawn(monkeypatch, tmp_path, np.eye(classes), [f"class {k}" for k in range(classes)]).axes[0]
    assert len(axes.get_xticks()) == ticks
    assert len(axes.texts) == (20 if classes == 20 else 0)


def test_names_of_many_classes_do_not_overlap(monkeypatch, tmp_path):
    figure = drawn(monkeypatch, tmp_path, np.eye(100), [f"class {k}" for k in range(100)])
    for labels, side in ((figure.axes[0].get_yticklabels(), "height"), (figure.axes[0].get_xticklabels(), "width")):
        boxes = [label.get_window_extent() for label in labels]
        assert labels[7].get_text() == "class 7"
        middle = [getattr(box, "y0" if side == "height" else "x0") + getattr(box, side) / 2 for box in boxes]
        assert max(getattr(box, side) for box in boxes) < np.abs(np.diff(middle)).min()


def test_confusions_that_stand_out_are_listed_where_cells_have_no_values(monkeypatch, tmp_path):
    # Class 3 goes to 4 and class 7 to $2$; the wrong labels of class 5 are spread evenly.
    matrix = np.eye(30)
    matrix[3, 3], matrix[3, 4] = 0.6, 0.4
    matrix[7, 7], matrix[7, 2], matrix[7, 9] = 0.44, 0.5, 0.06
    matrix[5] = 1 / 30
    expected = [(7, 2, 0.5), (3, 4, 0.4), (7, 9, 0.06)]
    assert frequent_confusions(matrix) == expected
    names = [f"${k}$" for k in range(30)]
    _, bar = drawn(monkeypatch, tmp_path, matrix, names).axes
    lines = bar.texts[0].get_text().splitlines()
    assert lines[3:] == ["0.50  $7$ → $2$", "0.40  $3$ → $4$", "0.06  $7$ → $9$"]
    assert not bar.texts[0].get_parse_math()
    even = np.full((30, 30), 0.01) + 0.7 * np.eye(30)
    assert frequent_confusions(even) == [] and not len(drawn(monkeypatch, tmp_path, even, names).axes[1].texts)


def test_no_more_than_thirty_confusions_are_listed():
    random = np.random.default_rng(0).dirichlet(np.full(100, 0.05), 100)
    found = frequent_confusions(random)
    values = [value for *_, value in found]
    off = np.sort(random[~np.eye(100, dtype=bool)])[::-1]
    assert values == off[:30].tolist()
