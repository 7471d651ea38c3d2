"""What the picture of a run's training curves shows."""

import pytest
from matplotlib.figure import Figure

from alasca_pl.report.curves import plot_curves

ROWS = [
    {"epoch": 0, "train/loss": 30.0, "train/loss_base/0": 1.5, "train/loss_base/1": 0.5, "train/acc_observed": 0.25}
    | {
        "val/acc": 0.5,
        "test/acc_main": 0.625,
        "select/precision": 0.75,
        "select/precision/0": 0.5,
        "select/recall": 0.875,
    }
    | {"alasca/confidence_clean/0": 0.5, "alasca/confidence_wrong/0": 0.25, "alasca/auroc/0": 0.75},
    {"epoch": 1, "train/loss": 6.0, "train/loss_base/0": 0.75, "train/loss_base/1": 0.25, "train/acc_observed": 0.375}
    | {"val/acc": 0.4375, "test/acc_main": 0.75, "select/precision": 0.875, "select/rate": 0.5},
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    def draw(rows, title="title") -> Figure:
        kept = []
        save = Figure.savefig
        monkeypatch.setattr(
            Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more))
        )
        plot_curves(rows, title, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        return kept[0]

    return draw


def lines(axis) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(map(float, point)) for point in line.get_xydata()] for line in axis.lines}


def test_each_panel_answers_one_question(drawn):
    figure = drawn(ROWS, "a $ and a $")
    assert figure.get_suptitle() == r"a \$ and a \$"
    accuracy, loss, selection, confidence = figure.axes
    # Epochs are counted from 1; validation was best in the first one, where the main head had 62.5 % on the test split.
    assert lines(accuracy) == {
        "training, given labels (37.5%)": [(1, 0.25), (2, 0.375)],
        "test, main head (75.0%)": [(1, 0.625), (2, 0.75)],
        "best on validation: epoch 1 (62.5%)": [(1, 0.625)],
    }
    assert lines(loss) == {
        "loss (6)": [(1, 30.0), (2, 6.0)],
        "base loss (1)": [(1, 2.0), (2, 1.0)],
        "weighted penalties (5)": [(1, 28.0), (2, 5.0)],
    }
    # The largest value is thirty times the smallest.
    assert loss.get_yscale() == "log"
    assert lines(selection) == {
        "precision: clean among the selected (0.88)": [(1, 0.75), (2, 0.875)],
        "recall: selected among the clean (0.88)": [(1, 0.875)],
        "fraction of samples selected (0.50)": [(2, 0.5)],
    }
    assert confidence.get_title() == "confidence of alasca in the given label"
    assert lines(confidence) == {
        "clean samples, network 0 (0.50)": [(1, 0.5)],
        "noisy samples, network 0 (0.25)": [(1, 0.25)],
        "AUROC, network 0 (0.75)": [(1, 0.75)],
    }
    ticks = [axis.get_xticks().tolist() for axis in figure.axes]
    assert all(float(tick).is_integer() for row in ticks for tick in row)


def test_a_loss_without_penalties_is_one_line(drawn):
    row = {"epoch": 0, "train/loss": 2.25, "train/loss_base": 2.25, "val/acc": 0.5, "val/acc_main": 0.5}
    accuracy, loss = drawn([row]).axes
    assert list(lines(loss)) == ["loss (2.25)"] and loss.get_yscale() == "linear"
    assert list(lines(accuracy)) == [
        "validation (given labels), main head (50.0%)",
        "best on validation: epoch 1 (50.0%)",
    ]


def test_a_row_of_foreign_metrics_alone_is_drawn(drawn):
    assert len(drawn([{"epoch": 0, "mine": 1.0}]).axes) == 1
