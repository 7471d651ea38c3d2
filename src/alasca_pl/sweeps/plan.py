"""From jobs that a line asks for to their folders, and what is to be done."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import identity, places, same_job
from alasca_pl.sweeps.folders import JobFolder, folders_by_digest, job_folders
from alasca_pl.sweeps.job import Job

# From recorded overrides to the config that they give today; None if they give none.
Recompose = Callable[[Sequence[str]], Mapping[str, Any] | None]


def without_repeats(jobs: Sequence[Job]) -> list[Job]:
    """Drop jobs that a line names twice.

    Raises:
        UserError: If two jobs read different data of the same name, which their folders could not tell apart.
    """
    kept: dict[str, Job] = {}
    for job in jobs:
        first = kept.setdefault(job.digest, job)
        _refuse_other_places(first.config, job.config, "two jobs of this line differ only in")
    return list(kept.values())


def _refuse_other_places(one: Mapping[str, Any], other: Mapping[str, Any], what: str) -> None:
    before, now = places(one), places(other)
    for name, path in now.items():
        old = before.get(name, path)
        if Path(old).absolute() != Path(path).absolute() and Path(old).exists():
            raise UserError(
                f"{what} {name} ({old} and {path}), and both have the name {Path(path).name}, by which a sweep knows data; "
                "give one another name, or its jobs another sweep"
            )


def place_jobs(sweep: Path, jobs: Sequence[Job], recompose: Recompose | None = None) -> list[tuple[Job, JobFolder]]:
    """Find the folder of each job, or say where it shall be.

    A job that was finished or half-done before an option was added is found, too: what it lacks is filled with what its
    overrides give today.

    Args:
        sweep: Folder of the sweep, which need not exist.
        jobs: The jobs, each once.
        recompose: Gives today's config of recorded overrides. Without it only digests are compared.

    Raises:
        UserError: If a job was recorded with other data of the same name.
    """
    known = folders_by_digest(sweep)
    missing = [job for job in jobs if job.digest not in known]
    if missing and known and recompose is not None:
        known |= _recorded_before(sweep, jobs, missing, recompose)
    placed = []
    for job in jobs:
        folder = known.get(job.digest)
        if folder is not None:
            _refuse_other_places(folder.config(), job.config, f"{folder.path} was made with other")
        placed.append((job, folder or JobFolder(sweep / job.folder_name)))
    return placed


def _recorded_before(
    sweep: Path, jobs: Sequence[Job], missing: Sequence[Job], recompose: Recompose
) -> dict[str, JobFolder]:
    """Finished and half-done jobs that are among the missing ones once they are filled with today's defaults."""
    wanted = {job.digest for job in jobs}
    found: dict[str, JobFolder] = {}
    for folder in job_folders(sweep):
        if folder.path.name[-12:] in wanted or not (folder.is_finished() or folder.checkpoint):
            continue
        config, overrides = folder.config(), folder.about().get("overrides", [])
        defaults: Mapping[str, Any] | None = None
        for job in missing:
            if job.digest in found or not _could_be(config, job.config):
                continue
            if defaults is None:
                defaults = recompose(overrides)
            if defaults is not None and same_job(config, job.config, defaults):
                if folder.is_finished():
                    # Nobody else writes there; of a half-done job the next attempt notes it.
                    folder.note_digest(job.digest)
                found[job.digest] = folder
    return found


def _could_be(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether all that is recorded has the wanted value."""
    old, new = identity(recorded), identity(wanted)
    return bool(old) and all(name in new and new[name] == value for name, value in old.items())


def differences(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """By digest, the overrides of each job that not all jobs have."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return {job.digest: [item for item in job.overrides if item not in shared] for job in jobs}
