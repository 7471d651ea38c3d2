"""Text files with one image per line, as Clothing1M and WebVision have them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alasca_pl.data.names import unsafe
from alasca_pl.noise.labels import Labels


def find_list(name: str, folders: Sequence[Path]) -> Path:
    """Find a list in the first of several folders that has it.

    Raises:
        FileNotFoundError: If none has it.
    """
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"no {name} in {' or '.join(str(folder) for folder in folders)}; set data.root to where it is"
    )


def read_keys(path: Path) -> list[str]:
    """Read one key per line.

    Raises:
        ValueError: If there is none, or one points outside its folder.
    """
    keys = [_checked(line, path, number) for number, line in _lines(path)]
    if not keys:
        raise ValueError(f"{path} is empty")
    return keys


def read_pairs(path: Path, num_classes: int) -> tuple[list[str], Labels]:
    """Read one key and its label per line, with white space between them.

    Args:
        path: The list.
        num_classes: Labels must be below.

    Raises:
        ValueError: If there is none, or a line does not have this form.
    """
    keys, labels = [], []
    for number, line in _lines(path):
        key, _, label = line.replace("\t", " ").rpartition(" ")
        if not key.strip() or not (label.isascii() and label.isdigit() and len(label) < 10):
            raise ValueError(f"{path}, line {number}: {line[:80]!r} is not a path and a label")
        if int(label) >= num_classes:
            raise ValueError(f"{path}, line {number}: label {label} must be below {num_classes}")
        keys.append(_checked(key.strip(), path, number))
        labels.append(int(label))
    if not keys:
        raise ValueError(f"{path} is empty")
    return keys, np.array(labels, dtype=np.int64)


def find_base(keys: Sequence[str], bases: Sequence[Path], what: str) -> Path:
    """Infer which folder paths are relative to, from where some of them exist.

    Args:
        keys: Paths.
        bases: Folders to try.
        what: Name of the images, for messages.

    Returns:
        The folder that contains most of them, the first one if there are several.

    Raises:
        FileNotFoundError: If no folder contains any.
    """
    some = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(50, len(keys))).astype(int))]
    found = [sum((base / key).is_file() for key in some) for base in bases]
    if not any(found):
        raise FileNotFoundError(
            f"no {what} found: looked for {some[0]!r} and {len(some) - 1} more in {' and '.join(str(base) for base in bases)}"
        )
    return bases[found.index(max(found))]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot use {path}: it is not UTF-8 text ({error})") from error


def _checked(key: str, path: Path, number: int) -> str:
    if reason := unsafe(key):
        raise ValueError(f"{path}, line {number}: path {key!r} {reason}")
    return key
