"""What an audit of a run's labels found, in memory and in one file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.audit.count import Count
from alasca_pl.audit.sample import Sample
from alasca_pl.audit.suspects import Suspects
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import parse_json, write_archive
from alasca_pl.core.npz import ArrayFile, open_npz

FILE, PAGE = "audit.npz", "audit.html"
_FORMAT = "alasca_pl audit 1"


@dataclass(frozen=True)
class LabelledSplit:
    """Labels of a split as they were given.

    Attributes:
        label: int64 (n,).
        index: Positions in the data set's own split, int64 (n,).
        names: Names of the images, (n,), or None for data without names.
    """

    label: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_] | None = None


@dataclass(frozen=True)
class Audit:
    """An audit.

    Attributes:
        splits: Labels of every split of the data, also of those that were not audited.
        class_names: One per class.
        suspects: All labels with a score, the most suspicious first.
        counts: Estimated number of wrong labels by split, and as ``all``.
        sample: A random sample of the suspects' places for review.
        planted: Places in the order of suspicion of labels that were changed on purpose, among all labels with a score, int64;
            None if none were.
        run: The run's folder.
        root: Folder that names are relative to if they are paths, else None.
        score: Name of the score.
        second: Further scores by name, larger is more suspicious, (n,); NaN where a label has none.
        second_counts: How many labels cleanlab takes for wrong, by the number of folds of its probabilities, 0 for those of the
            final network.
    """

    splits: Mapping[str, LabelledSplit]
    class_names: tuple[str, ...]
    suspects: Suspects
    counts: Mapping[str, Count]
    sample: Sample
    planted: npt.NDArray[np.int64] | None
    run: str
    root: str | None
    score: str
    second: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    second_counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Short digest of the audited labels; decisions carry it, so that they are not applied to others."""
        content = hashlib.sha256("\0".join(self.class_names).encode("utf-8", "surrogateescape"))
        for name, split in self.splits.items():
            content.update(name.encode())
            for array in (split.label, split.index):
                content.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return content.hexdigest()[:12]

    def name(self, place: int) -> str:
        """Name of a suspect's image; its position in the data set if it has none."""
        split = self.splits[str(self.suspects.split[place])]
        row = int(self.suspects.row[place])
        return str(split.index[row]) if split.names is None else str(split.names[row])

    def index(self, place: int) -> int:
        """Position of a suspect in the data set's own split."""
        return int(self.splits[str(self.suspects.split[place])].index[int(self.suspects.row[place])])

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        about = {
            "format": _FORMAT,
            "splits": list(self.splits),
            "class_names": list(self.class_names),
            "counts": {name: asdict(count) for name, count in self.counts.items()},
            "run": self.run,
            "root": self.root,
            "score": self.score,
            "second_counts": {str(folds): count for folds, count in self.second_counts.items()},
        }
        arrays: dict[str, Any] = {"about": np.str_(json.dumps(about))}
        for name, split in self.splits.items():
            arrays |= {f"split/{name}/label": split.label, f"split/{name}/index": split.index}
            if split.names is not None:
                encoded = [str(each).encode("utf-8", "surrogateescape") for each in split.names]
                arrays[f"split/{name}/names"] = np.array(encoded, dtype=np.bytes_)
        arrays |= {f"suspects/{field.name}": getattr(self.suspects, field.name) for field in fields(Suspects)}
        arrays |= {f"second/{name}": values for name, values in self.second.items()}
        arrays |= {f"sample/{field.name}": getattr(self.sample, field.name) for field in fields(Sample)}
        if self.planted is not None:
            arrays["planted"] = self.planted
        write_archive(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Audit":
        """Read what ``save`` wrote; nothing in it is executed.

        Raises:
            UserError: If the file is missing, damaged, or of another version.
        """
        if not path.is_file():
            raise UserError(f"no audit {path}; make one with alasca-audit RUN")
        try:
            with open_npz(path) as file:
                return cls._read(file)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no audit of this version: {error}") from error

    @classmethod
    def _read(cls, file: ArrayFile) -> "Audit":
        about = parse_json(str(file["about"]))
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']!r}, not {_FORMAT!r}")
        splits = {}
        for name in about["splits"]:
            names = None
            if f"split/{name}/names" in file:
                stored = file[f"split/{name}/names"]
                names = np.array([bytes(each).decode("utf-8", "surrogateescape") for each in stored], dtype=np.str_)
            splits[name] = LabelledSplit(file[f"split/{name}/label"], file[f"split/{name}/index"], names)
        return cls(
            splits=splits,
            class_names=tuple(about["class_names"]),
            suspects=Suspects(**{field.name: file[f"suspects/{field.name}"] for field in fields(Suspects)}),
            counts={name: Count(**values) for name, values in about["counts"].items()},
            sample=Sample(**{field.name: file[f"sample/{field.name}"] for field in fields(Sample)}),
            planted=file["planted"] if "planted" in file else None,
            run=about["run"],
            root=about["root"],
            score=about["score"],
            second={name.partition("/")[2]: file[name] for name in file.names if name.startswith("second/")},
            second_counts={int(folds): count for folds, count in about.get("second_counts", {}).items()},
        )


def find_audit(place: Path) -> Path:
    """File of the audit in a folder, or in the folder ``audit`` of a run.

    Raises:
        UserError: If there is none.
    """
    if place.name == FILE and place.is_file():
        return place
    for file in (place / FILE, place / "audit" / FILE):
        if file.is_file():
            return file
    raise UserError(f"{place} holds no audit; give the folder that alasca-audit RUN wrote, or the run's")
