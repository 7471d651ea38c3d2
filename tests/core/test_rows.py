"""Rows of metrics survive the way through a CSV file."""

import csv
import math
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.core.errors import UserError
from alasca_pl.core.rows import add_row, read_rows, write_rows


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


def test_appended_rows_give_the_file_that_is_written_at_once(tmp_path: Path):
    rows = [{"epoch": 0, "z": 1.0}, {"epoch": 1}, {"epoch": 2, "a": 2.0, "z": 3.0}, {"epoch": 3, "a": 1 / 3}]
    for count in range(1, len(rows) + 1):
        add_row(tmp_path / "added.csv", rows[:count])
    write_rows(tmp_path / "whole.csv", rows)
    assert (tmp_path / "added.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("left", ["3", "3,0.", '3,"0', "3,0.25"])
def test_a_last_line_without_its_end_is_left_out(tmp_path: Path, left: str):
    write_rows(tmp_path / "metrics.csv", [{"epoch": epoch, "a": 0.5} for epoch in range(3)])
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(left)
    assert [row["epoch"] for row in read_rows(tmp_path / "metrics.csv")] == [0, 1, 2]


def test_a_full_disk_leaves_the_rows_before(tmp_path: Path):
    rows = [{"epoch": epoch, "a": 0.5} for epoch in range(60)]
    write_rows(tmp_path / "metrics.csv", rows[:1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write metrics\.csv in"):
            for count in range(2, 60):
                add_row(tmp_path / "metrics.csv", rows[:count])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    kept = read_rows(tmp_path / "metrics.csv")
    assert len(kept) > 5 and kept == rows[: len(kept)] and (tmp_path / "metrics.csv").read_bytes().endswith(b"\n")
