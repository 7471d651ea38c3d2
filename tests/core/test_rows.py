"""Rows of metrics survive the way through a CSV file."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.core.rows import read_rows, write_rows


def test_rows_come_back_to_the_last_bit(tmp_path: Path):
    rows = [
        {"epoch": 0, "step": 10, "loss": 1 / 3, "tiny": 1e-300, "huge": -1.7976931348623157e308},
        {"epoch": 1, "step": 20, "loss": 0.1, "tiny": 5e-324, "huge": math.inf},
    ]
    write_rows(tmp_path / "metrics.csv", rows)
    assert read_rows(tmp_path / "metrics.csv") == rows


def test_epoch_and_step_are_whole_numbers_and_all_else_is_float(tmp_path: Path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 3, "step": 7, "acc": 1.0, "count": 2}])
    (row,) = read_rows(tmp_path / "metrics.csv")
    assert {name: type(value) for name, value in row.items()} == {
        "epoch": int, "step": int, "acc": float, "count": float,
    }  # fmt: skip


def test_not_a_number_stays_so_and_differs_from_an_empty_cell(tmp_path: Path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 0, "a": math.nan}, {"epoch": 1, "b": 0.0}])
    first, second = read_rows(tmp_path / "metrics.csv")
    assert math.isnan(first["a"]) and "b" not in first
    assert second == {"epoch": 1, "b": 0.0}


def test_columns_are_all_names_in_order_of_appearance(tmp_path: Path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 0, "z": 1.0}, {"epoch": 1, "a": 2.0, "z": 3.0}])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "z", "a"], ["0", "1.0", ""], ["1", "3.0", "2.0"]]


def test_no_rows_come_back_as_no_rows(tmp_path: Path):
    write_rows(tmp_path / "metrics.csv", [])
    assert read_rows(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize("value", [np.float64(0.25), np.float64("nan")])
def test_numpy_floats_are_floats(tmp_path: Path, value: np.float64):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 0, "acc": value}])
    assert read_rows(tmp_path / "metrics.csv")[0]["acc"] == pytest.approx(float(value), nan_ok=True)


def test_an_earlier_file_is_replaced(tmp_path: Path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": epoch, "a": 0.5} for epoch in range(3)])
    write_rows(tmp_path / "metrics.csv", [{"epoch": 0, "a": 0.75}])
    assert read_rows(tmp_path / "metrics.csv") == [{"epoch": 0, "a": 0.75}]
