"""A reviewer who knows the clean labels: for measuring what a number of decisions is worth, never for data of one's own."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.decisions import COLUMNS
from alasca_pl.audit.tables import csv_text, valid_text
from alasca_pl.core.errors import UserError
from alasca_pl.core.seeds import derive_seed

Order = Literal["rank", "random"]


def simulated_decisions(
    audit: Audit, clean: Mapping[str, npt.NDArray[np.int64]], count: int, by: Order = "rank", seed: int = 0
) -> tuple[str, int]:
    """Decide as a person would who is never wrong: keep a label that is right, and give the right one to the others.

    Args:
        audit: The audit.
        clean: Clean labels by split, (n,) each.
        count: Number of decisions.
        by: ``rank`` decides on the most suspicious labels, ``random`` on labels drawn uniformly, whose first ones are the
            same for each number.
        seed: Seed of this draw.

    Returns:
        Text in the form of ``decisions.csv``, and how many of the labels are wrong.

    Raises:
        UserError: If there are fewer labels, or the clean labels of one are unknown.
    """
    suspects = audit.suspects
    if not 1 <= count <= len(suspects):
        raise UserError(f"decisions={count} must be a whole number from 1 to the {len(suspects)} labels of the audit")
    unknown = sorted(set(suspects.split.tolist()) - clean.keys())
    if unknown:
        raise UserError(
            f"clean labels of the split {', '.join(unknown)} are unknown, so that no reviewer can be simulated"
        )
    order = np.arange(len(suspects))
    if by == "random":
        order = np.random.default_rng(derive_seed(seed, "reviewer")).permutation(len(suspects))
    names, rows = audit.class_names, []
    for place in order[:count].tolist():
        split = str(suspects.split[place])
        given, true = int(suspects.given[place]), int(clean[split][suspects.row[place]])
        path = "" if audit.splits[split].names is None else valid_text(audit.name(place))
        action = "keep" if given == true else "relabel"
        rows.append((audit.identity, path, audit.index(place), split, names[given], action, names[true], ""))
    return csv_text(COLUMNS, rows), sum(row[5] == "relabel" for row in rows)
