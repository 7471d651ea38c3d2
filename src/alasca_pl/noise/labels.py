"""Observed labels of a training split, where they came from, and how far they are from the clean ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.core.files import write_atomically
from alasca_pl.core.npz import open_npz

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NoisyLabels:
    """Observed labels, drawn once and the same for every method, process and epoch.

    Attributes:
        label: Observed, possibly wrong, int64 (N,).
        clean_label: int64 (N,), or None where nobody knows. For measuring only.
        index: Positions of the samples in the data set's own training set, int64 (N,).
        num_classes: K.
        kind: Name of the noise model.
        rate: Nominal noise rate, or None where the kind has none.
        seed: Seed of the draw, or None.
    """

    label: Labels
    clean_label: Labels | None
    index: Labels
    num_classes: int
    kind: str
    rate: float | None
    seed: int | None

    @property
    def realised_rate(self) -> float | None:
        """Share of wrong labels, or None where clean labels are unknown."""
        return None if self.clean_label is None else float(np.mean(self.label != self.clean_label))

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
        """Write everything to an ``npz`` file, whole or not at all."""
        arrays: dict[str, Any] = {
            "label": self.label,
            "index": self.index,
            "num_classes": np.int64(self.num_classes),
            "kind": np.str_(self.kind),
            "rate": np.float64(np.nan if self.rate is None else self.rate),
            "seed": np.int64(-1 if self.seed is None else self.seed),
        }
        if self.clean_label is not None:
            arrays["clean_label"] = self.clean_label
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "NoisyLabels":
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            ValueError: If the file is damaged or holds something else.
        """
        with open_npz(path) as file:
            rate, seed = float(file["rate"]), int(file["seed"])
            return cls(
                label=file["label"],
                clean_label=file["clean_label"] if "clean_label" in file else None,
                index=file["index"],
                num_classes=int(file["num_classes"]),
                kind=str(file["kind"]),
                rate=None if np.isnan(rate) else rate,
                seed=None if seed < 0 else seed,
            )
