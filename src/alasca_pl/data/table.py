"""CSV tables with one line per image."""

import csv
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alasca_pl.data.images import PathImages
from alasca_pl.data.names import name_some, spelled_on_disk, unsafe
from alasca_pl.data.places import find_table
from alasca_pl.data.samples import ImageFiles, RawData

log = logging.getLogger(__name__)

_COLUMNS = ("path", "label", "split", "clean_label")
_SPLITS = {"": "train", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass
class _Rows:
    """Columns of one split."""

    path: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    clean: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)


def read_table(path: str | Path, root: str | Path | None = None) -> RawData:
    """Read a table with the header ``path,label[,split][,clean_label]``, in any order.

    The text is UTF-8, separated by commas, semicolons or tabs, inferred from the header. The order of the lines is the
    order of the images. A path finds its file also if accents are stored in another way on the disk. ``split`` is train
    (or empty), val (or valid, validation) or test. Labels are all whole numbers from 0, or all names; names are numbered
    in their order as text, those of ``clean_label`` included. Labels of the test split are its clean labels if there are
    any. Nothing is written into the user's folders.

    Args:
        path: The table.
        root: Folder that the images' paths are relative to; None for the table's own.

    Returns:
        ``ImageFiles`` of the training split, and of the others that occur in the table.

    Raises:
        FileNotFoundError: If the table or folder does not exist.
        ValueError: If the table does not have this form, labels mix numbers and names, a path leads out of ``root``,
            also through a link, an image is missing, or one is in the training split twice.
    """
    path, root = find_table(path, root)
    try:
        splits = _read_rows(path)
        names = _class_names(splits)
        _check_paths(splits, root)
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot use {path}: it is not UTF-8 ({error}); save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"cannot use {path}: {error}") from error
    numbers = {name: number for number, name in enumerate(names)}
    made = {split: _make(split, rows, root, numbers, path) for split, rows in splits.items() if rows.path}
    return RawData(made["train"], made.get("test"), made.get("val"), tuple(names))


def _read_rows(path: Path) -> dict[str, _Rows]:
    splits = {split: _Rows() for split in ("train", "val", "test")}
    # A byte order mark, which spreadsheets write, is not part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = _delimiter(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(reader)]
        _check_header(header)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            line = reader.line_num
            if len(values) != len(header):
                raise ValueError(f"line {line} has {len(values)} values, but the header {len(header)}")
            row = dict(zip(header, values))
            word = row.get("split", "").strip().lower()
            if word not in _SPLITS:
                raise ValueError(f"line {line}: unknown split {row['split']!r}; choose one of train, val, test")
            rows = splits[_SPLITS[word]]
            rows.path.append(row["path"].strip())
            rows.label.append(row["label"].strip())
            rows.clean.append(row.get("clean_label", "").strip())
            rows.line.append(line)
    if not splits["train"].path:
        raise ValueError("no line is in the training split")
    return splits


def _delimiter(header: str) -> str:
    for delimiter in ",;\t":
        names = [name.strip().strip('"') for name in header.strip().split(delimiter)]
        if {"path", "label"} <= set(names):
            return delimiter
    raise ValueError(
        f"its first line is {header.strip()[:80]!r}; it must name the columns path,label[,split][,clean_label]"
    )


def _check_header(header: list[str]) -> None:
    # A misspelt name that is silently ignored would put test images into the training split.
    unknown = [name for name in header if name not in _COLUMNS]
    if unknown:
        raise ValueError(f"unknown column(s) {name_some([repr(name) for name in unknown])}; use {', '.join(_COLUMNS)}")
    if len(set(header)) < len(header):
        raise ValueError(f"a column occurs twice: {', '.join(header)}")


def _class_names(splits: dict[str, _Rows]) -> list[str]:
    """Sorted names of the classes, or nothing if labels are numbers."""
    first: dict[str, tuple[str, int]] = {}
    names: set[str] = set()
    given: set[str] = set()
    for what in ("label", "clean"):
        for rows in splits.values():
            for value, line in zip(getattr(rows, what), rows.line):
                if value == "":
                    if what == "label":
                        raise ValueError(f"line {line}: the label is empty")
                    continue
                kind = "number" if _NUMBER.fullmatch(value) else "name"
                if kind == "number" and not _WHOLE.fullmatch(value):
                    raise ValueError(f"line {line}: label {value!r} is not a whole number from 0 to 999999999")
                first.setdefault(kind, (value, line))
                names.add(value)
        given = given or set(names)
    if len(first) == 2:
        (number, where), (name, there) = first["number"], first["name"]
        raise ValueError(
            f"labels must be all whole numbers or all names, but line {where} has {number!r} and line {there} {name!r}"
        )
    if "number" in first:
        return []
    if names > given:
        only = [repr(name) for name in sorted(names - given)]
        log.warning("classes that occur only in clean labels: %s", name_some(only))
    return sorted(names)


def _check_paths(splits: dict[str, _Rows], root: Path) -> None:
    inside = os.path.realpath(root)
    resolved: dict[str, str] = {}
    listed: dict[str, dict[str, list[str]]] = {}
    missing = []
    seen: dict[str, set[str]] = {}
    for split, rows in splits.items():
        twice = []
        seen[split] = set()
        for place, (name, line) in enumerate(zip(rows.path, rows.line)):
            if reason := unsafe(name):
                raise ValueError(
                    f"line {line}: path {name!r} {reason}; paths must be relative to {root} and stay in it"
                )
            name = os.path.normpath(name)
            if not _is_file_inside(name, inside, resolved, line):
                other = spelled_on_disk(name, inside, listed)
                if other is None or not _is_file_inside(other, inside, resolved, line):
                    missing.append(f"{name!r} (line {line})")
                else:
                    name = rows.path[place] = other
            if name in seen[split]:
                twice.append(f"{name!r} (line {line})")
            seen[split].add(name)
        if twice and split == "train":
            raise ValueError(f"{len(twice)} image(s) are in the training split twice: {name_some(twice)}")
    if missing:
        raise ValueError(f"{len(missing)} image(s) are missing in {root}: {name_some(missing)}")
    shared = sorted(seen["train"] & (seen["val"] | seen["test"]))
    if shared:
        log.warning(
            "%d image(s) of the training split are also in another: %s",
            len(shared),
            name_some([repr(s) for s in shared]),
        )


def _is_file_inside(name: str, inside: str, resolved: dict[str, str], line: int) -> bool:
    # Links are resolved once per folder: resolving a million files would take minutes.
    folder, file = os.path.split(name)
    if folder not in resolved:
        resolved[folder] = os.path.realpath(os.path.join(inside, folder))  # noqa: PTH118
    real = os.path.join(resolved[folder], file)  # noqa: PTH118
    if os.path.islink(real):  # noqa: PTH114
        real = os.path.realpath(real)
    if os.path.commonpath([inside, real]) != inside:
        raise ValueError(f"line {line}: path {name!r} leads out of its folder through a link")
    return os.path.isfile(real)  # noqa: PTH113


def _make(split: str, rows: _Rows, root: Path, numbers: dict[str, int], path: Path) -> ImageFiles:
    def as_labels(values: list[str]) -> np.ndarray:
        return np.array([numbers[value] if numbers else int(value) for value in values], dtype=np.int64)

    images = PathImages(root, [os.path.normpath(name) for name in rows.path])
    labels, known = as_labels(rows.label), sum(value != "" for value in rows.clean)
    if known == len(rows.clean):
        clean = as_labels(rows.clean)
        return ImageFiles(images, clean if split == "test" else labels, clean)
    if known and split == "test":
        line = rows.line[rows.clean.index("")]
        raise ValueError(
            f"cannot use {path}: line {line}: clean_label is empty, but other lines of the test split have one"
        )
    if known:
        log.warning("only %d of %d clean labels of the %s split are given: none is used", known, len(labels), split)
    return ImageFiles(images, labels)
