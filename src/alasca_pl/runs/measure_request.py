"""What to measure on which checkpoints; needs no torch, so that a wrong request is refused at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.measurement import KINDS, Measurement
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.report.saved import records_in
from alasca_pl.runs.early import check_device, check_split


@dataclass(frozen=True)
class Request:
    """What to measure and how.

    Attributes:
        what: ``jacobian`` or ``norms``.
        checkpoint: ``last`` or ``best``.
        split: ``train``, ``val``, ``test`` or a further test split.
        of: ``features``, the vectors before the main head, or its ``logits``.
        samples: Size of the random subset, the same in all runs with as many samples; None for all. By default 1,000 for
            Jacobians, all for norms.
        probes: Of Hutchinson's estimator; None computes Jacobians exactly.
        batch_size: Images at once.

    Raises:
        UserError: If a value is outside its range.
    """

    what: str = "jacobian"
    checkpoint: str = "last"
    split: str = "train"
    of: str = "features"
    samples: int | None = None
    probes: int | None = None
    batch_size: int = 100

    def __post_init__(self) -> None:
        for name, value, known in (("what", self.what, KINDS), ("of", self.of, ("features", "logits"))):
            if value not in known:
                raise UserError(f"unknown {name}={value}; choose one of {', '.join(known)}")
        for name, number in (("samples", self.samples), ("probes", self.probes), ("batch_size", self.batch_size)):
            if number is not None and number < 1:
                raise UserError(f"{name} must be at least 1, got {number}")
        if self.probes is not None and self.what != "jacobian":
            raise UserError(f"probes={self.probes} is for what=jacobian only")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the values, as it is kept with them."""
        settings = {"checkpoint": self.checkpoint, "split": self.split, "of": self.of, "samples": self.samples}
        if self.what == "jacobian":
            settings |= {"estimator": "exact" if self.probes is None else "hutchinson", "probes": self.probes}
        return settings

    def file(self, folder: RunFolder, name: str | None = None) -> Path:
        """Where a run keeps what was measured."""
        return folder.measured / f"{name or self.what}.json"


def checkpoints_in(places: Sequence[str], checkpoint: str) -> tuple[list[Path], list[str]]:
    """Checkpoints of all runs in some places.

    Args:
        places: Folders of runs, folders that hold some, names of sweeps, or patterns with ``*``.
        checkpoint: Name of the checkpoint.

    Returns:
        The files, and the names of runs that have none.

    Raises:
        UserError: If there is no run at a place, or no checkpoint at all.
    """
    found: dict[Path, None] = {}
    lacking = []
    for place in places:
        for record in records_in(place):
            file = RunFolder(record.parent).checkpoint(checkpoint)
            if file.is_file():
                found[file] = None
            else:
                lacking.append(str(record.parent))
    if not found:
        raise UserError(
            f"no run in {', '.join(places)} has the checkpoint {checkpoint}.ckpt; was it pruned, or were only records imported?"
        )
    return list(found), lacking


def check_requests(
    files: Sequence[Path],
    requests: Sequence[Request],
    source: Mapping[str, Any],
    device: str,
    name: str | None = None,
) -> None:
    """Check what is to be measured, as far as the folders of the runs tell.

    Args:
        files: Checkpoints.
        requests: What to measure on each.
        source: Values of group data that are others than the run's.
        device: ``auto``, ``cpu`` or ``cuda``.
        name: Of the file without its suffix; that of what is measured by default.

    Raises:
        UserError: If there is no such device or split, or a file is there with another measurement.
    """
    check_device(device)
    for file in files:
        folder = RunFolder.of_checkpoint(file)
        for request in requests:
            path = request.file(folder, name)
            if path.is_file():
                refuse_other(path, request)
            # Other data may have other splits.
            if not source:
                check_split(folder, request.split)


def refuse_other(path: Path, request: Request, epoch: int | None = None) -> None:
    """Refuse to measure under a name that a run has given to another measurement.

    Args:
        path: The file, which exists.
        request: What to measure.
        epoch: Epoch of the checkpoint; None if it is not known yet.

    Raises:
        UserError: If the file holds anything else.
    """
    there = Measurement.read(path)
    its, wanted = ({"what": each.what, **each.settings} for each in (there, request))
    wanted["epoch"] = its.get("epoch") if epoch is None else epoch
    if its != wanted:
        differing = [name for name in {**its, **wanted} if its.get(name) != wanted.get(name)]
        raise UserError(
            f"{path} is there with other settings ({', '.join(differing)}); give this measurement a name of its own with name=..."
        )
