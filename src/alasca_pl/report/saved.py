"""Runs as they lie on a disk: folders, sweeps, exported records."""

import csv
import dataclasses
import glob
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import job_digest
from alasca_pl.core.files import parse_json
from alasca_pl.core.measurement import Measurement
from alasca_pl.core.record import RunRecord
from alasca_pl.core.rows import Row, parse_rows, read_rows
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.report.summary import summarise

# What sweeps write beside and into the folders of their jobs, and the beginning of what they export.
_JOB, _PLAN, _EXPORT = RunFolder("").job.name, "composed.json", "alasca_pl sweep "


@dataclass(frozen=True)
class SavedRun:
    """A finished run.

    Attributes:
        record: Its record.
        history: One row of metrics per epoch; empty where only the record was kept.
        source: Where it was found, from the name of the place that was given: the same wherever the reader stands.
        sweep: Name of the sweep that it belongs to, or None.
        measured: What was measured on its checkpoints, by name.
        folder: Its folder; None where only the record was kept.
    """

    record: RunRecord
    history: Sequence[Row]
    source: str
    sweep: str | None = None
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def last_epochs(self) -> int:
        """Number of last epochs that its mean covers."""
        settings = self.record.config.get("report")
        return int(settings.get("last_epochs", 20)) if isinstance(settings, Mapping) else 20

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything in record, history and measurements but the place."""
        content = dataclasses.asdict(self.record) | {"folder": "", "history": list(self.history)}
        if self.measured:
            content["measured"] = {name: dataclasses.asdict(its) for name, its in sorted(self.measured.items())}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class SetAside:
    """A run that is listed, never averaged.

    Attributes:
        source: Where it was found.
        status: ``failed``, ``running``, ``interrupted``, ``damaged``, ``not started``.
        reason: Why, as far as it is known.
    """

    source: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class PlannedRun:
    """A job of a sweep as its line asks for it.

    Attributes:
        overrides: What its command sets.
        choices: Options chosen in each group.
        config: Its resolved config.
        sweep: Name of the sweep.
    """

    overrides: Sequence[str]
    choices: Mapping[str, Any]
    config: Mapping[str, Any]
    sweep: str


@dataclass
class Found:
    """What was found in some places.

    Attributes:
        runs: Finished runs, by source.
        aside: Runs that are not finished, failed, or are damaged.
        planned: Jobs of sweeps that no finished run answers.
        notes: What else a reader should know.
    """

    runs: list[SavedRun] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    planned: list[PlannedRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_runs(places: Sequence[str | Path]) -> Found:
    """Read all runs in some places.

    Args:
        places: Folders of runs, folders that hold such folders at any depth, names of sweeps, files that
            ``alasca-sweep export`` or a run wrote, or patterns with ``*``.

    Raises:
        UserError: If a place does not exist or holds no run.
    """
    found = Found()
    for place in places:
        for path in paths_of(str(place)):
            before = len(found.runs), len(found.aside), len(found.planned)
            if path.is_dir():
                _read_tree(path, found)
            else:
                _read_file(path, found)
            if before == (len(found.runs), len(found.aside), len(found.planned)):
                raise UserError(f"{path} holds no run: there is no {RunFolder('').record.name} in it")
    _drop_repeated(found)
    done = {digest for run in found.runs for digest in (run.record.digest, job_digest(run.record.config))}
    found.planned = [job for job in found.planned if job_digest(job.config) not in done]
    return found


def records_in(place: str) -> list[Path]:
    """Files of the records of all runs in a place, see ``find_runs``.

    Raises:
        UserError: If there is none.
    """
    name = RunFolder("").record.name
    records = [record for path in paths_of(place) for record in sorted(path.rglob(name))]
    if not records:
        raise UserError(f"{place} holds no run: there is no {name} in it")
    return records


def paths_of(place: str) -> list[Path]:
    """What a place stands for: itself, a sweep by its name, or what a pattern matches.

    Raises:
        UserError: If there is nothing.
    """
    for path in (Path(place), Path("sweeps") / place):
        if place and path.exists():
            return [path]
    matches = sorted(Path(name) for name in glob.glob(place, recursive=True)) if place else []  # noqa: PTH207
    # Of a run's own files only the record is one to read, and what lies in a folder that matches is read with it.
    matches = [path for path in matches if path.is_dir() or (path.suffix == ".json" and path.name not in (_JOB, _PLAN))]
    paths = [path for path in matches if not any(above in matches for above in path.parents)]
    if not paths:
        sweeps = sorted(path.name for path in Path("sweeps").iterdir()) if Path("sweeps").is_dir() else []
        raise UserError(
            f"nothing is at {place!r}; give folders of runs, names of sweeps ({', '.join(sweeps) or 'there are none'}), "
            "files that alasca-sweep export wrote, or patterns with *"
        )
    return paths


def _read_tree(top: Path, found: Found) -> None:
    name = RunFolder("").record.name
    folders = {path.parent for pattern in (name, _JOB) for path in top.rglob(pattern)}
    # Runs on folds of a run's labels belong to that run.
    owned = {RunFolder(folder).folds for folder in folders}
    folders = {folder for folder in folders if folder.parent not in owned}
    for folder in sorted(folders):
        _read_folder(folder, top, found)
    for plan in sorted(top.rglob(_PLAN)):
        found.planned += _planned(plan)


def _shown(path: Path, top: Path) -> str:
    return path.resolve().relative_to(top.resolve().parent).as_posix()


def _read_folder(folder: Path, top: Path, found: Found) -> None:
    run, shown = RunFolder(folder), _shown(folder, top)
    sweep = folder.parent.name if (folder / _JOB).is_file() else None
    if not run.record.is_file():
        status, reason = _last_attempt(folder / _JOB)
        found.aside.append(SetAside(shown, status, reason))
        return
    try:
        record = RunRecord.read(run.record)
        history = read_rows(run.metrics) if run.metrics.is_file() else []
        measured = {path.stem: Measurement.read(path) for path in sorted(run.measured.glob("*.json"))}
    except (UserError, OSError, ValueError, TypeError, csv.Error) as error:
        found.aside.append(SetAside(shown, "damaged", str(error).replace(str(folder), shown)))
        return
    _take(SavedRun(record, history, shown, sweep, measured, folder), found)


def _read_file(path: Path, found: Found) -> None:
    try:
        content = unsealed(parse_json(path.read_text()))
        is_export = isinstance(content, dict) and str(content.get("format", "")).startswith(_EXPORT)
        jobs = list(content["jobs"]) if is_export else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.aside.append(SetAside(path.name, "damaged", str(error)))
        return
    if path.name == RunFolder("").record.name:
        _read_folder(path.parent, path.parent, found)
    elif not is_export:
        raise UserError(f"{path} is neither the record of a run nor a file of alasca-sweep export")
    for number, job in enumerate(jobs):
        source = f"{path.name}[{number}]"
        try:
            source = f"{path.name}:{job['folder']}"
            record = RunRecord.from_plain(job["record"], source)
            history = parse_rows(job["files"].get(RunFolder("").metrics.name, ""))
            measured = {
                Path(name).stem: Measurement.from_plain(parse_json(text), f"{source}/{name}")
                for name, text in job["files"].items()
                if Path(name).parent.name == RunFolder("").measured.name
            }
        except (UserError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
            found.aside.append(SetAside(source, "damaged", str(error)))
            continue
        _take(SavedRun(record, history, source, str(content.get("sweep", "")) or None, measured), found)


def _take(run: SavedRun, found: Found) -> None:
    record = run.record
    problem = None
    if record.status == "finished":
        problem = _disagreement(run)
    if record.status != "finished":
        found.aside.append(SetAside(run.source, record.status, record.problem or ""))
    elif problem:
        found.aside.append(SetAside(run.source, "damaged", problem))
    else:
        found.runs.append(run)


def _disagreement(run: SavedRun) -> str | None:
    """Where the figures of the record are not those of the epochs."""
    if not run.record.metrics:
        return "the record of a finished run has no metrics"
    if not run.history:
        return None
    expected = summarise(run.history, run.last_epochs)
    for select, values in expected.items():
        for name, value in values.items():
            kept = run.record.metrics.get(select, {}).get(name)
            if kept is None or not (math.isclose(kept, value, rel_tol=1e-9, abs_tol=1e-12) or kept != kept):
                return f"the record says {select} {name} = {kept!r}, the epochs in metrics.csv give {value!r}"
    return None


def _last_attempt(path: Path) -> tuple[str, str]:
    try:
        attempts = parse_json(path.read_text()).get("attempts", [])
        last = attempts[-1] if attempts else {}
        outcome = last.get("outcome")
        return ("not started" if not last else str(outcome or "interrupted")), str(last.get("reason", ""))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return "damaged", str(error)


def _planned(plan: Path) -> Iterator[PlannedRun]:
    try:
        jobs = parse_json(plan.read_text())["jobs"].items()
        for overrides, job in jobs:
            yield PlannedRun(list(parse_json(overrides)), dict(job["choices"]), dict(job["config"]), plan.parent.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # What is lost is only the list of what is missing.
        return


def _drop_repeated(found: Found) -> None:
    kept: dict[str, SavedRun] = {}
    for run in found.runs:
        first = kept.setdefault(run.fingerprint, run)
        if first is not run and first.source != run.source:
            found.notes.append(f"{run.source} is the run in {first.source} and counts once")
    found.runs = list(kept.values())
    found.aside = list(dict.fromkeys(found.aside))
