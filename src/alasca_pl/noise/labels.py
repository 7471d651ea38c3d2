"""Observed labels of a training split, their origin, and their difference from the clean labels."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.core.files import write_archive
from alasca_pl.core.npz import ArrayFile, open_npz

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NoisyLabels:
    """Observed labels, drawn once and the same for every method, process and epoch.

    Attributes:
        label: Observed, possibly wrong, int64 (N,).
        clean_label: int64 (N,), or None if unknown. For measuring only.
        index: Positions of the samples in the data set's own training set, int64 (N,).
        num_classes: K.
        kind: Name of the noise model.
        rate: Nominal noise rate, or None if the kind has none.
        seed: Seed of the draw, or None.
        data_digest: Hash of the data set's training set that the labels belong to, or None if there is none.
        own_split: Whether they are for the data set's own validation split; ``index`` then gives positions in it. Files
            do not store this: they are for training sets.
        planted_from: Label before an error was planted on purpose, -1 elsewhere, int64 (N,); None if none was planted. For
            measuring only, like ``clean_label``.

    Example:
        >>> labels = NoisyLabels(np.array([0, 1, 1]), np.array([0, 0, 1]), np.arange(3), 2, "symmetric", 0.3, seed=0)
        >>> round(labels.realised_rate, 2), labels.transition_matrix.tolist()
        (0.33, [[0.5, 0.5], [0.0, 1.0]])
    """

    label: Labels
    clean_label: Labels | None
    index: Labels
    num_classes: int
    kind: str
    rate: float | None
    seed: int | None
    data_digest: str | None = None
    own_split: bool = False
    planted_from: Labels | None = None

    def take(self, rows: Labels) -> "NoisyLabels":
        """Return the labels of some samples."""
        clean, planted = (None if array is None else array[rows] for array in (self.clean_label, self.planted_from))
        return replace(self, label=self.label[rows], index=self.index[rows], clean_label=clean, planted_from=planted)

    @property
    def realised_rate(self) -> float | None:
        """Fraction of wrong labels, or None where clean labels are unknown."""
        return None if self.clean_label is None else float(np.mean(self.label != self.clean_label))

    @property
    def class_rates(self) -> npt.NDArray[np.float64] | None:
        """Fraction of wrong labels of each clean class, (K,); NaN for absent classes. None without clean labels."""
        if self.clean_label is None:
            return None
        size = np.bincount(self.clean_label, minlength=self.num_classes)
        wrong = np.bincount(self.clean_label[self.label != self.clean_label], minlength=self.num_classes)
        return np.where(size > 0, wrong / np.maximum(size, 1), np.nan)

    @property
    def transition_matrix(self) -> npt.NDArray[np.float64] | None:
        """Measured P(observed j given clean i), (K, K); rows of absent classes are 0. None without clean labels."""
        if self.clean_label is None:
            return None
        counts = np.zeros((self.num_classes, self.num_classes))
        np.add.at(counts, (self.clean_label, self.label), 1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    @property
    def digest(self) -> str:
        """SHA-256 over observed labels, positions and number of classes, in hexadecimal."""
        content = hashlib.sha256(str(self.num_classes).encode())
        for array in (self.label, self.index):
            content.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return content.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to an ``npz`` file, atomically."""
        arrays: dict[str, Any] = {
            "label": np.asarray(self.label, dtype=np.int64),
            "index": np.asarray(self.index, dtype=np.int64),
            "num_classes": np.int64(self.num_classes),
            "kind": np.str_(self.kind),
            "rate": np.float64(np.nan if self.rate is None else self.rate),
            "seed": np.int64(-1 if self.seed is None else self.seed),
        }
        if self.clean_label is not None:
            arrays["clean_label"] = np.asarray(self.clean_label, dtype=np.int64)
        if self.planted_from is not None:
            arrays["planted_from"] = np.asarray(self.planted_from, dtype=np.int64)
        if self.data_digest is not None:
            arrays["data_digest"] = np.str_(self.data_digest)
        write_archive(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "NoisyLabels":
        """Read what ``save`` wrote; nothing in the file is executed, and everything in it is checked.

        Raises:
            ValueError: If the file is damaged or contains anything else.
        """
        with open_npz(path) as file:
            num_classes = int(_scalar(file, "num_classes", "iu"))
            rate = float(_scalar(file, "rate", "f"))
            seed = int(_scalar(file, "seed", "iu"))
            if num_classes < 1:
                raise ValueError(f"num_classes is {num_classes}; there must be at least 1")
            if not (np.isnan(rate) or 0.0 <= rate <= 1.0):
                raise ValueError(f"rate is {rate}; it must lie in [0, 1], or be NaN for none")
            label = _column(file, "label", num_classes)
            index = _column(file, "index")
            clean_label = _column(file, "clean_label", num_classes) if "clean_label" in file else None
            planted_from = _column(file, "planted_from") if "planted_from" in file else None
            for name, column in (("index", index), ("clean_label", clean_label), ("planted_from", planted_from)):
                if column is not None and len(column) != len(label):
                    raise ValueError(f"label has {len(label)} values, but {name} {len(column)}")
            check_index(index)
            return cls(
                label=label,
                clean_label=clean_label,
                index=index,
                num_classes=num_classes,
                kind=str(_scalar(file, "kind", "U")),
                rate=None if np.isnan(rate) else rate,
                seed=None if seed < 0 else seed,
                data_digest=str(_scalar(file, "data_digest", "U")) if "data_digest" in file else None,
                planted_from=planted_from,
            )


def check_labels(labels: Labels, num_classes: int, what: str) -> None:
    """Raise ``ValueError`` unless all labels lie in 0 to K - 1; ``what`` names them."""
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise ValueError(
            f"{what} holds {labels[outside[0]]} at row {outside[0]}; "
            f"with {num_classes} classes it must lie in 0 to {num_classes - 1}"
        )


def check_index(index: Labels) -> None:
    """Raise ``ValueError`` unless all positions are at least 0 and none occurs twice."""
    if len(index) and index.min() < 0:
        raise ValueError(f"index holds {index.min()}; positions count from 0")
    position, count = np.unique(index, return_counts=True)
    if (count > 1).any():
        raise ValueError(f"index holds position {position[count > 1][0]} more than once")


def _scalar(file: ArrayFile, name: str, kinds: str) -> Any:
    value = file[name]
    if value.ndim or value.dtype.kind not in kinds:
        raise ValueError(f"{name} has type {value.dtype} and shape {value.shape}, not one value as a noise file has")
    return value[()]


def _column(file: ArrayFile, name: str, num_classes: int | None = None) -> Labels:
    column = file[name]
    if column.dtype != np.int64 or column.ndim != 1:
        raise ValueError(f"{name} has type {column.dtype} and shape {column.shape}, not int64 (N,) as a noise file has")
    if not len(column):
        raise ValueError(f"{name} is empty")
    if num_classes is not None:
        check_labels(column, num_classes, name)
    return column.astype(np.int64)


def same_data(one: str | None, other: str | None) -> bool | None:
    """Compare two hashes of data sets.

    Returns:
        Whether they are equal, or None if they cannot be compared: one is missing, or they are hashes of different
        things (pixels in memory, names and sizes of files).
    """
    if one is None or other is None or one.rpartition(":")[0] != other.rpartition(":")[0]:
        return None
    return one == other


def check_clean_labels(source: str, recorded: Labels, known: Labels, index: Labels, where: str) -> None:
    """Compare clean labels of a file with those of the data.

    Args:
        source: The file, for messages.
        recorded: Clean labels of the file, int64 (n,).
        known: Clean labels of the data for the same samples, int64 (n,).
        index: Positions of these samples, int64 (n,).
        where: What the positions refer to, for messages.

    Raises:
        ValueError: If they differ.
    """
    different = np.flatnonzero(recorded != known)
    if len(different):
        first = different[0]
        raise ValueError(
            f"{source} is for other data or another order of it: its clean labels differ from those of {where} at "
            f"{len(different)} of {len(index)} positions, first at position {index[first]} "
            f"({recorded[first]} in the file, {known[first]} in the data set)"
        )
