"""Metrics by epoch as a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alasca_pl.core.files import append, write_atomically

Row = dict[str, float | int]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV, atomically; columns are all names that occur, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    content = _lines([dict(zip(names, names)), *rows], names)
    write_atomically(path, lambda file: file.write(content))


def add_row(path: Path, rows: list[Row]) -> None:
    """Append the last row to what ``write_rows`` or this function wrote of the others; a new column writes the file anew.

    A process that is killed meanwhile leaves a last line without its end, which readers leave out.
    """
    names = list(dict.fromkeys(name for row in rows[:-1] for name in row))
    if set(rows[-1]) <= set(names) and path.is_file():
        append(path, _lines(rows[-1:], names))
    else:
        write_rows(path, rows)


def _lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, names, lineterminator="\n").writerows(
        {name: repr(float(value)) if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    return text.getvalue().encode()


def read_rows(path: Path) -> list[Row]:
    """Read what ``write_rows`` wrote; see ``parse_rows``."""
    with path.open(newline="") as file:
        return parse_rows(file.read())


def parse_rows(text: str) -> list[Row]:
    """Read the text that ``write_rows`` wrote; empty cells are left out, and so is a last line without its end.

    Raises:
        ValueError: If a cell is no number.
    """
    text = text[: text.rfind("\n") + 1]
    return [
        {name: int(value) if name in ("epoch", "step") else float(value) for name, value in row.items() if value}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
