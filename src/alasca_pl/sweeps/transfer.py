"""Records of a sweep as one file, to be committed, mailed and merged."""

import re
import shutil
from pathlib import Path
from typing import Any

from alasca_pl.core.checksum import sealed, unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import parse_json, write_atomically, write_json
from alasca_pl.core.paths import path_values
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.sweeps.folders import JOB, JobFolder, is_folder_name, job_folders
from alasca_pl.sweeps.lock import JobLock

_FORMAT = "alasca_pl sweep 1"
# Of a file in a run's folder; no part of it leads out of there.
_MEASURED = re.compile(rf"{RunFolder('').measured.name}/[A-Za-z0-9_-]+\.json")


def export_records(sweep: Path, file: Path) -> int:
    """Write records, metrics and measurements of all finished jobs into a JSON file, and return their number.

    Paths of this machine do not leave it: of folders of runs and of data only the names are written, which is what jobs are
    compared by. The config is in the record.

    Raises:
        UserError: If the file exists.
    """
    if file.exists():
        raise UserError(f"{file} exists; choose another name")
    jobs: list[dict[str, Any]] = []
    for folder in job_folders(sweep):
        if folder.is_finished():
            metrics = folder.run.metrics
            content = {metrics.name: metrics.read_text()} if metrics.is_file() else {}
            content |= {f"{path.parent.name}/{path.name}": path.read_text() for path in _measurements(folder)}
            job, record = folder.about(), folder.record()
            # Who ran an attempt, and by which interpreter, is that machine's affair.
            job["attempts"] = [_without(attempt, "command", "host") for attempt in folder.attempts()]
            # The folder's own path, that of the machine where it was trained, and those of its data.
            # A job may name them from where the sweep was started, and then only its record says where that was.
            configs = (job.get("config"), record.get("config"))
            paths = {
                str(folder.path.absolute()),
                str(record.get("folder", "")),
                *(path for each in configs for path in path_values(each)),
            }
            each = {"folder": folder.path.name, "job": job, "record": record, "files": content}
            jobs.append(_shortened(each, {path: Path(path).name for path in paths if Path(path).is_absolute()}))
    write_json(file, sealed({"format": _FORMAT, "sweep": sweep.name, "jobs": jobs}))
    return len(jobs)


def import_records(sweep: Path, file: Path) -> tuple[int, int]:
    """Add finished jobs of a file to a sweep, which is made if need be. What is finished there stays as it is.

    Nothing that the file names is called or run.

    Returns:
        Number of jobs added, and of those that were there.

    Raises:
        UserError: If the file is none that ``export_records`` writes.
    """
    try:
        content = unsealed(parse_json(file.read_text()))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        jobs = [_checked(each) for each in content["jobs"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is no file of alasca-sweep export: {error}") from error
    added = there = 0
    for each in jobs:
        folder = JobFolder(sweep / each["folder"])
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = JobLock(folder.lock)
        if folder.is_finished() or not lock.acquire():
            there += 1
            continue
        try:
            folder.clear()
            for name, text in each["files"].items():
                write_atomically(folder.path / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
            write_json(folder.path / JOB, {**each["job"], "imported_from": file.name})
            # Last: it says that the job is done.
            write_json(folder.run.record, sealed(each["record"]))
        finally:
            lock.release()
        added += 1
    return added, there


def prune(sweep: Path) -> int:
    """Drop checkpoints of finished jobs, keep their records; return how many bytes that freed."""
    freed = 0
    for folder in job_folders(sweep):
        checkpoints = folder.run.checkpoints
        if folder.is_finished() and checkpoints.is_dir():
            freed += sum(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
            shutil.rmtree(checkpoints)
    return freed


def retry(sweep: Path) -> int:
    """Let failed jobs be tried again however often they failed; return their number."""
    count = 0
    for folder in job_folders(sweep):
        if folder.is_finished() or not folder.failures():
            continue
        lock = JobLock(folder.lock)
        if lock.acquire():
            try:
                count += folder.forgive()
            finally:
                lock.release()
    return count


def _without(mapping: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _shortened(value: Any, names: dict[str, str]) -> Any:
    """Replace paths by their names, in all texts of nested containers; longer paths first."""
    if isinstance(value, dict):
        return {key: _shortened(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, names) for item in value]
    if isinstance(value, str):
        for path in sorted(names, key=len, reverse=True):
            value = value.replace(path, names[path])
    return value


def _measurements(folder: JobFolder) -> list[Path]:
    return sorted(folder.run.measured.glob("*.json"))


def _checked(job: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(job["folder"], str) or not is_folder_name(job["folder"]):
        raise ValueError(f"{job['folder']!r} is no name of a job's folder")
    if not isinstance(job["job"], dict) or job["record"]["status"] != "finished":
        raise ValueError(f"{job['folder']} is not a finished job")
    allowed = {RunFolder("").metrics.name, RunFolder("").config.name}
    measured = {name for name in job["files"] if _MEASURED.fullmatch(name)}
    if not set(job["files"]) <= allowed | measured or not all(isinstance(text, str) for text in job["files"].values()):
        raise ValueError(f"{job['folder']} has files that no record has")
    return job
