"""Reports in folders: written once, and checked again."""

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_empty, parse_json, write_atomically, write_json
from alasca_pl.report.document import Document
from alasca_pl.report.question import Question
from alasca_pl.report.render import csv_table, html, latex_table, markdown
from alasca_pl.report.saved import Found, find_runs, paths_of
from alasca_pl.report.write_up import write_report

_FORMAT = "alasca_pl report 1"
_ABOUT, _MARKDOWN, _PAGE = "report.json", "report.md", "report.html"
_FIGURES = "figures"
_PICTURE = re.compile(r"<svg.*?</svg>", re.DOTALL)


def files_of(document: Document) -> dict[str, str]:
    """All forms of a report, by name of the file."""
    files = {_MARKDOWN: markdown(document, _FIGURES), _PAGE: html(document)}
    for table in document.tables:
        files[f"{table.name}.csv"] = csv_table(table)
        files[f"{table.name}.tex"] = latex_table(table)
    return files


def write_folder(
    folder: Path, document: Document, question: Question, places: Sequence[str], found: Found
) -> list[Path]:
    """Write a report in all forms, with what ``verify`` needs.

    Args:
        folder: A folder that does not exist yet, or is empty.
        document: The report.
        question: What it answers.
        places: Where its runs were found.
        found: Its runs.

    Returns:
        The files.

    Raises:
        UserError: If there is something in the folder, which is never overwritten.
    """
    check_empty(folder)
    # Relative, so that a folder with records and report can be moved as a whole.
    sources = [
        Path(os.path.relpath(path, folder)).as_posix()
        for place in places
        for path in ([Path(place)] if _is_pattern(place) else paths_of(place))
    ]
    about = {
        "format": _FORMAT,
        "question": asdict(question),
        "sources": sources,
        "runs": {run.source: run.fingerprint for run in found.runs},
    }
    files = {name: text.encode() for name, text in files_of(document).items()} | _pictures(document)
    try:
        for name, content in files.items():
            write_atomically(folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        write_json(folder / _ABOUT, about)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return [folder / name for name in (*files, _ABOUT)]


def _pictures(document: Document) -> dict[str, bytes]:
    """Pictures in a folder of their own, in all forms."""
    return {
        f"{_FIGURES}/{figure.name}.{form}": content
        for figure in document.figures
        if figure.svg
        for form, content in {"svg": figure.svg.encode(), **figure.files}.items()
    }


def verify(folder: Path, places: Sequence[str] = ()) -> list[str]:
    """Write a report anew from the records and compare it with what is in a folder.

    Args:
        folder: A folder that ``write_folder`` wrote.
        places: Where the runs are now; where they were by default.

    Returns:
        What differs: runs, then each cell or line of each file. Pictures are not compared.

    Raises:
        UserError: If the folder holds no report, or the runs are gone.
    """
    about = _read_about(folder)
    # Relative as the folder was given, whatever links there are on the way.
    where = list(places) or [os.path.normpath(folder / source) for source in about["sources"]]
    found = find_runs(where)
    now = {run.source: run.fingerprint for run in found.runs}
    then = about["runs"]
    differing = [f"{name} is gone" for name in sorted(then.keys() - now.keys())]
    differing += [f"{name} is new" for name in sorted(now.keys() - then.keys())]
    differing += [
        f"{name} is another run, or was changed" for name in sorted(then) if name in now and now[name] != then[name]
    ]
    question = Question(**{name: _tuples(value) for name, value in about["question"].items()})
    try:
        expected = files_of(write_report(found, question, pictures=False))
    except UserError as error:
        return [*differing, f"the report cannot be written any more: {error}"]
    for name, text in expected.items():
        try:
            written = (folder / name).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            differing.append(f"{name} cannot be read: {error}")
            continue
        differing += compare(name, written, text)
    known = {*expected, _ABOUT}
    return differing + [
        f"{path.name} belongs to no report"
        for path in sorted(folder.iterdir())
        if path.name not in known and path.is_file()
    ]


def compare(name: str, written: str, expected: str) -> Iterator[str]:
    """Where two forms of a file differ, by cell in tables and by line elsewhere; pictures are left out."""
    if name.endswith(".csv"):
        old, new = (list(csv.reader(io.StringIO(text))) for text in (written, expected))
        heads = new[0] if new else []
        yield from _rows(name, old, new, heads)
        return
    lines = [_PICTURE.sub("", text).splitlines() for text in (written, expected)]
    heads = []
    for number, (old_line, new_line) in enumerate(zip_longest(*lines), start=1):
        cells = _cells(new_line) if name.endswith(".md") else []
        # A line of dashes follows the heads of a table.
        heads = cells if cells and not heads else heads if cells else []
        if old_line == new_line:
            continue
        old_cells = _cells(old_line) if cells else []
        if len(old_cells) == len(cells) == len(heads) and cells:
            for head, old_cell, new_cell in zip(heads, old_cells, cells):
                if old_cell != new_cell:
                    yield f"{name}, line {number} ({cells[0]}), {head}: printed {old_cell!r}, the records give {new_cell!r}"
        else:
            yield f"{name}, line {number}: printed {_said(old_line)}, the records give {_said(new_line)}"


def _rows(name: str, old: Sequence[Sequence[str]], new: Sequence[Sequence[str]], heads: Sequence[str]) -> Iterator[str]:
    for number, (was, now) in enumerate(zip_longest(old, new), start=1):
        if was == now:
            continue
        if was is None or now is None or len(was) != len(now):
            lines = [None if cells is None else ",".join(cells) for cells in (was, now)]
            yield f"{name}, line {number}: printed {_said(lines[0])}, the records give {_said(lines[1])}"
            continue
        for head, left, right in zip(heads, was, now):
            if left != right:
                yield f"{name}, line {number} ({', '.join(now[:2])}), {head}: printed {left!r}, the records give {right!r}"


def _cells(line: str | None) -> list[str]:
    if line is None or not line.startswith("| "):
        return []
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _said(line: str | None) -> str:
    return "nothing" if line is None else repr(line.strip())


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    try:
        about = parse_json(path.read_text())
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']!r}")
        about["sources"], about["runs"] = [str(each) for each in about["sources"]], dict(about["runs"])
        if set(about["question"]) != set(asdict(Question())):
            raise ValueError("its question is not one of this version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no report that alasca-report output=DIR wrote: {error}") from error
    return dict(about)


def _is_pattern(place: str) -> bool:
    return any(letter in place for letter in "*?[") and not Path(place).exists()


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
