"""Noise from a file: labels that were drawn before or come from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alasca_pl.core.npz import open_npz
from alasca_pl.noise.labels import Labels, NoisyLabels, check_labels
from alasca_pl.noise.recorded import RecordedLabels

_SUFFIXES = (".npz", ".npy", ".txt", ".csv")


class FileNoise(RecordedLabels):
    r"""Labels from a file.

    Args:
        path: One of

            - ``.npz`` as ``alasca-noise make`` and every run write it: labels of the listed samples, with clean labels,
              nominal rate and seed;
            - ``.npz`` with ``label`` and, if known, ``clean_label``, of all training samples in their order;
            - ``.npy``: whole numbers (N,) or (N, 1), labels of all training samples in their order;
            - ``.txt`` or ``.csv``: one label per line, of all training samples in their order, optionally after one
              header line.

    Raises:
        ValueError: If no such file exists, or its name has another ending.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.txt"
        >>> _ = file.write_text("0\n2\n1\n")
        >>> FileNoise(file).recorded(num_classes=3).label.tolist()
        [0, 2, 1]
    """

    kind = "from_file"

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        if self.path.suffix.lower() not in _SUFFIXES:
            raise ValueError(f"cannot read labels from {self.path}; its name must end in {', '.join(_SUFFIXES)}")
        if not self.path.is_file():
            raise ValueError(
                f"no noise file {self.path.absolute()}; set noise.path to one, e.g. made by alasca-noise make"
            )
        self._read: NoisyLabels | None = None

    @classmethod
    def kind_and_rate(cls, node: Mapping[str, Any]) -> tuple[str, float | None]:
        """Kind and nominal rate recorded in the file; ``from_file`` and None if it records none."""
        path = Path(node["path"]).expanduser()
        if path.suffix.lower() != ".npz" or not path.is_file():
            return cls.kind, None
        with open_npz(path) as file:
            if "kind" not in file or "rate" not in file:
                return cls.kind, None
            kind, rate = str(file["kind"]), float(file["rate"])
        return kind, None if np.isnan(rate) else rate

    @property
    def source(self) -> str:
        return f"noise file {self.path}"

    def uncovered(self, split: str) -> str:
        if split == "val":
            return (
                "use the data set's own labels for validation with data.noisy_val=false, or make a file of both splits "
                "with alasca-noise make and the same data, split seed and noise"
            )
        return "make a file for this data and split with alasca-noise make, or set data.split_seed to that of the file"

    def recorded(self, num_classes: int) -> NoisyLabels:
        if self._read is None:
            self._read = read_label_file(self.path, num_classes)
        if self._read.num_classes != num_classes:
            raise ValueError(
                f"{self.source} is for other data: it has {self._read.num_classes} classes, the data {num_classes}"
            )
        return self._read


def read_label_file(path: Path, num_classes: int) -> NoisyLabels:
    """Read a file of labels; see ``FileNoise`` for what it may be. Nothing in it is executed.

    Args:
        path: The file.
        num_classes: K, for files that do not store it.

    Raises:
        ValueError: If the file is damaged or contains anything else, or a label is out of range.
    """
    clean: Labels | None = None
    if path.suffix.lower() == ".npz":
        with open_npz(path) as file:
            lists_samples = "index" in file
        if lists_samples:
            return NoisyLabels.load(path)
        with open_npz(path) as file:
            label = _as_column(file["label"], "label")
            clean = _as_column(file["clean_label"], "clean_label") if "clean_label" in file else None
            if clean is not None and len(clean) != len(label):
                raise ValueError(f"label has {len(label)} values, but clean_label {len(clean)}")
    else:
        try:
            label = _as_column(read_table(path), "the file")
        except ValueError as error:
            raise ValueError(f"cannot use {path}: {error}") from error
    for name, column in (("label", label), ("clean_label", clean)):
        if column is not None:
            check_labels(column, num_classes, f"{path}: {name}")
    return NoisyLabels(label, clean, np.arange(len(label)), num_classes, FileNoise.kind, None, None)


def read_table(path: Path) -> np.ndarray:
    """Read numbers from a ``.npy``, ``.txt`` or ``.csv`` file; a first line of text without numbers is skipped.

    Returns:
        Whole or floating-point numbers as the file has them, (rows,) or (rows, columns).

    Raises:
        ValueError: If the file contains anything else.
    """
    if path.suffix.lower() == ".npy":
        try:
            with path.open("rb") as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, EOFError, MemoryError) as error:
            raise ValueError(str(error)) from error
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    if rows and not any(_is_number(word) for word in rows[0]):
        rows = rows[1:]
    wrong = next((word for row in rows for word in row if not _is_number(word)), None)
    if not rows or wrong is not None:
        raise ValueError("holds no numbers" if wrong is None else f"holds {wrong!r}, which is not a number")
    whole = all(word.lstrip("+-").isdecimal() for row in rows for word in row)
    try:
        table = np.array([[int(word) if whole else float(word) for word in row] for row in rows])
    except (ValueError, OverflowError) as error:
        raise ValueError("its lines have different numbers of values") from error
    return table[:, 0] if table.shape[1] == 1 else table


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _as_column(array: np.ndarray, what: str) -> Labels:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise ValueError(
            f"{what} has type {array.dtype} and shape {array.shape}; labels must be whole numbers, (N,) or (N, 1), one per "
            "training sample"
        )
    return array.astype(np.int64)
