"""The file ``samples.npz`` of a run: what its training showed about each given label."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.core.files import write_archive
from alasca_pl.core.npz import open_npz

_PREFIX = "evidence/"


@dataclass(frozen=True)
class SampleFile:
    """Evidence on the labels of a training split.

    Attributes:
        label: Observed labels, int64 (N,).
        index: Positions in the data set's own training set, int64 (N,).
        visits: How often each sample was trained on, int64 (N,).
        names: Names of the images' files within the data set, (N,); None for data that are not files.
        evidence: Arrays by name, (M, N): those of ``Evidence.means``, and ``<part>_confidence`` of each part that scores
            labels, larger where the label is more likely correct.

    Example:
        >>> file = SampleFile(np.array([1]), np.array([0]), np.array([3]), None, {"margin": np.array([[0.5]])})
        >>> file.evidence["margin"].shape
        (1, 1)
    """

    label: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    visits: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_] | None
    evidence: dict[str, npt.NDArray[Any]]

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        arrays: dict[str, Any] = {"label": self.label, "index": self.index, "visits": self.visits}
        if self.names is not None:
            # Bytes take a quarter of the room of numpy's text, and can hold names that are not valid text.
            encoded = [str(name).encode("utf-8", "surrogateescape") for name in self.names]
            arrays["names"] = np.array(encoded, dtype=np.bytes_)
        arrays |= {f"{_PREFIX}{name}": array for name, array in self.evidence.items()}
        write_archive(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "SampleFile":
        """Read what ``save`` wrote; nothing in the file is executed, and shapes and types are checked.

        Raises:
            ValueError: If the file is damaged or contains anything else.
        """
        with open_npz(path) as file:
            columns = {name: file[name] for name in ("label", "index", "visits")}
            count = len(columns["label"])
            for name, column in columns.items():
                if column.dtype != np.int64 or column.shape != (count,):
                    raise ValueError(f"{name} has type {column.dtype} and shape {column.shape}, not int64 ({count},)")
            names = None
            if "names" in file:
                stored = file["names"]
                if stored.dtype.kind != "S" or stored.shape != (count,):
                    raise ValueError(f"names has type {stored.dtype} and shape {stored.shape}, not bytes ({count},)")
                names = np.array([bytes(name).decode("utf-8", "surrogateescape") for name in stored], dtype=np.str_)
            evidence = {name[len(_PREFIX) :]: file[name] for name in file.names if name.startswith(_PREFIX)}
            for name, array in evidence.items():
                if array.ndim != 2 or array.shape[1] != count or array.dtype.kind not in "iuf":
                    raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}, not numbers (M, {count})")
            return cls(columns["label"], columns["index"], columns["visits"], names, evidence)
