"""The page on which people decide on labels: one file that fetches nothing."""

import base64
import hashlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.decisions import COLUMNS
from alasca_pl.audit.tables import class_pairs, valid_text

_HERE = Path(__file__).parent
# Fraction of the estimated errors that the slider begins with.
_BEGIN = 0.9
_PAIRS = 200


class Thumbnail(NamedTuple):
    """A picture for the page."""

    uri: str
    """As a data URI."""
    small: bool
    """Whether it is shown enlarged, with its pixels visible."""


Thumbnails = Callable[[str, Sequence[int]], list[Thumbnail]]
"""From the name of a split and rows in it to pictures."""


def render_page(
    audit: Audit, thumbnails: Thumbnails, shown: int, remarks: Sequence[str], folder: str, more: Sequence[str] = ()
) -> str:
    """Make the page.

    Args:
        audit: The audit.
        thumbnails: Makes the pictures.
        shown: Number of suspects on the page.
        remarks: Short texts for the side of the page.
        folder: Where the audit is kept, for the commands that the page names.
        more: Further options of the command that applies decisions.
    """
    suspects, sample = audit.suspects, audit.sample
    shown = min(shown, len(suspects))
    turn = {int(place): number for number, place in enumerate(sample.place)}
    places = [*range(shown), *sorted(place for place in turn if place >= shown)]
    pictures: dict[int, Thumbnail] = {}
    for split in audit.splits:
        own = [place for place in places if suspects.split[place] == split]
        pictures |= zip(own, thumbnails(split, [int(suspects.row[place]) for place in own]))
    total = max(float(suspects.probability.sum()), 1e-12)
    found = np.concatenate([[0.0], np.cumsum(suspects.probability[:shown]) / total])
    enough = int(np.searchsorted(found, _BEGIN * found[-1])) if shown else 0
    data = {
        "audit": audit.identity,
        "classes": list(audit.class_names),
        "columns": COLUMNS,
        "named": all(split.names is not None for split in audit.splits.values()),
        "shown": shown,
        "budget": max(1, enough),
        "found": [round(float(value), 4) for value in found],
        "pairs": [(given, other, round(expected, 2)) for given, other, expected, _ in class_pairs(audit)[:_PAIRS]],
        "items": [_item(audit, place, turn.get(place, -1), pictures[place]) for place in places],
    }
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_HERE / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=f"Labels of {valid_text(Path(audit.run).name)}",
        headline=audit.counts["all"].sentence(len(suspects)),
        commands=[
            shlex.join(["alasca-audit", "apply", "decisions.csv", valid_text(folder), *more]),
            shlex.join(["alasca-audit", "estimate", valid_text(folder), "decisions.csv"]),
        ],
        remarks=remarks,
        data=data,
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        # Only this script runs, whatever names and labels contain.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _item(audit: Audit, place: int, turn: int, picture: Thumbnail) -> list[Any]:
    suspects = audit.suspects
    return [
        place + 1,
        str(suspects.split[place]),
        audit.index(place),
        valid_text(audit.name(place)),
        int(suspects.given[place]),
        int(suspects.suggested[place]),
        round(float(suspects.probability[place]), 4),
        suspects.reason(place, audit.class_names),
        turn,
        picture.uri,
        picture.small,
    ]
