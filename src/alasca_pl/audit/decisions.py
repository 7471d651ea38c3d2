"""What people decided on labels: read and checked, applied, and turned into estimates."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.tables import DROPPED, valid_text
from alasca_pl.core.errors import UserError, did_you_mean

COLUMNS = ("audit", "path", "index", "split", "given_label", "decision", "label", "time")
ACTIONS = ("keep", "relabel", "drop", "unsure")
# Up to so many classes, a message names them.
_FEW_CLASSES = 20
# Longer pauses are no time spent on a decision.
_PAUSE_SECONDS = 300


@dataclass(frozen=True)
class Decisions:
    """Decisions on labels of an audit.

    Attributes:
        place: Places in the order of suspicion, int64 (d,).
        action: ``keep``, ``relabel``, ``drop`` or ``unsure``, (d,).
        label: Label after the decision, int64 (d,): the given one for ``keep`` and ``unsure``, ``DROPPED`` for ``drop``.
        seconds: Median time from one decision to the next, or None if unknown.
    """

    place: npt.NDArray[np.int64]
    action: npt.NDArray[np.str_]
    label: npt.NDArray[np.int64]
    seconds: float | None = None

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which labels were found wrong, (d,)."""
        return (self.action == "relabel") | (self.action == "drop")


def read_decisions(path: Path, audit: Audit) -> Decisions:
    """Read ``decisions.csv`` and check that it fits an audit.

    Raises:
        UserError: If it cannot be read, is for another audit, or holds an impossible decision; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    identity = [] if "path" in header else [name for name in ("index", "split") if name not in header]
    missing = [*identity, *(name for name in ("decision", "label") if name not in header)]
    if missing:
        raise UserError(
            f"{path} lacks the column(s) {', '.join(missing)}; it is what the page of an audit exports, or a table by hand with "
            "the columns path, decision, label"
        )
    if not rows:
        raise UserError(f"{path} holds no decision")
    suspects = audit.suspects
    places = {(str(suspects.split[place]), audit.index(place)): place for place in range(len(suspects))}
    by_path = {valid_text(audit.name(place)): place for place in range(len(suspects))}
    numbers = {name: number for number, name in enumerate(audit.class_names)}
    found: dict[int, tuple[str, int]] = {}
    for line, row in rows:
        try:
            place, action, label = _decision(row, audit, places, by_path, numbers)
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}") from error
        if place in found:
            raise UserError(f"{path}, line {line}: a second decision on {audit.name(place)!r}; leave one of them")
        found[place] = action, label
    return Decisions(
        place=np.array(list(found), dtype=np.int64),
        action=np.array([action for action, _ in found.values()]),
        label=np.array([label for _, label in found.values()], dtype=np.int64),
        seconds=_pace(row.get("time") or "" for _, row in rows),
    )


def _decision(
    row: dict[str, str],
    audit: Audit,
    places: dict[tuple[str, int], int],
    by_path: dict[str, int],
    numbers: dict[str, int],
) -> tuple[int, str, int]:
    if None in row or None in row.values():
        raise ValueError("it has another number of values than the header")
    if row.get("audit", audit.identity) != audit.identity:
        raise ValueError(
            f"the decision is for the audit {row['audit']!r} of other labels, not for {audit.identity!r}; "
            "give the folder of the audit whose page exported it"
        )
    place = _place(row, audit, places, by_path)
    given = audit.class_names[audit.suspects.given[place]]
    if row.get("given_label", given) != given:
        raise ValueError(f"its given label is {given!r}, not {row['given_label']!r}")
    action = row["decision"]
    if action not in ACTIONS:
        raise ValueError(f"unknown decision {action!r}; choose one of {', '.join(ACTIONS)}")
    if action == "relabel":
        if row["label"] not in numbers:
            near, few = did_you_mean(row["label"], numbers), len(numbers) <= _FEW_CLASSES
            listed = ", ".join(numbers) if few else f"the {len(numbers)} classes"
            raise ValueError(f"unknown label {row['label']!r}{near}; choose one of {listed}")
        if row["label"] == given:
            raise ValueError("relabel needs another label than the given one; choose keep")
        return place, action, numbers[row["label"]]
    return place, action, DROPPED if action == "drop" else numbers[given]


def _place(row: dict[str, str], audit: Audit, places: dict[tuple[str, int], int], by_path: dict[str, int]) -> int:
    """Place of a decision's label, by index and split, or by its path alone."""
    if "index" not in row or "split" not in row:
        if row["path"] not in by_path:
            raise ValueError(
                f"the audit has no image {row['path']!r}{did_you_mean(row['path'], by_path)}; paths are those of suspects.csv"
            )
        return by_path[row["path"]]
    if not row["index"].isdecimal() or (row["split"], int(row["index"])) not in places:
        raise ValueError(f"the audit has no label with index {row['index']!r} in split {row['split']!r}")
    place = places[row["split"], int(row["index"])]
    if row.get("path") and row["path"] != valid_text(audit.name(place)):
        raise ValueError(f"the image with this index is {audit.name(place)!r}, not {row['path']!r}")
    return place


def _pace(times: Iterable[str]) -> float | None:
    try:
        seconds = sorted(datetime.fromisoformat(time).timestamp() for time in times if time)
    except (ValueError, TypeError):
        return None
    gaps = np.diff(seconds)
    gaps = gaps[gaps <= _PAUSE_SECONDS]
    return float(np.median(gaps)) if len(gaps) >= 5 and np.median(gaps) > 0 else None


def apply_decisions(audit: Audit, decisions: Decisions) -> dict[str, npt.NDArray[np.int64]]:
    """Labels of every split after the decisions, ``DROPPED`` where an image is left out. Nothing else is changed."""
    labels = {name: split.label.copy() for name, split in audit.splits.items()}
    for place, label in zip(decisions.place, decisions.label):
        labels[str(audit.suspects.split[place])][audit.suspects.row[place]] = label
    return labels
