"""Metrics by epoch as a CSV file."""

import csv
import io
from pathlib import Path

from alasca_pl.core.files import write_atomically

Row = dict[str, float | int]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV, atomically; columns are all names that occur, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: repr(float(value)) if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def read_rows(path: Path) -> list[Row]:
    """Read what ``write_rows`` wrote; empty cells are left out."""
    with path.open(newline="") as file:
        return parse_rows(file.read())


def parse_rows(text: str) -> list[Row]:
    """Read the text that ``write_rows`` wrote; empty cells are left out.

    Raises:
        ValueError: If a cell is no number.
    """
    return [
        {name: int(value) if name in ("epoch", "step") else float(value) for name, value in row.items() if value}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
