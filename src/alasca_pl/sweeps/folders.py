"""What the folders of a sweep hold. No other module of this package reads or writes files of a run."""

import csv
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import parse_json, write_json
from alasca_pl.core.metric_names import VAL, accuracy
from alasca_pl.core.record import now
from alasca_pl.core.rows import read_rows
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.lock import is_held

# Of the sweep, in the folder of a job.
JOB, LOG, LOCK = RunFolder("").job.name, "job.log", "job.lock"
# Names of the folders of all jobs that lines asked for, also of those that have not begun.
_PLANNED = "jobs.txt"

Status = Literal["finished", "running", "failed", "given up", "half-done", "waiting"]
FAILURES = ("failed", "killed", "timeout")
_NAME = re.compile(r"[A-Za-z0-9._-]+-[0-9a-f]{12}")


def sweep_folder(name: str, root: Path | None = None) -> Path:
    """Folder of a sweep that exists, from its name or its path.

    Raises:
        UserError: If there is none; the message lists those that there are.
    """
    root = Path("sweeps") if root is None else root
    for folder in (root / name, Path(name)):
        if folder.is_dir() and name:
            return folder
    known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    raise UserError(f"no sweep {name!r} in {root.absolute()}; there are {', '.join(known) or 'none'}")


def check_name(name: str) -> str:
    """Return the name of a sweep if it is one.

    Raises:
        UserError: If it is not safe as a folder's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UserError(
            f"sweep={name}: the name of a sweep has letters, digits, '.', '_' and '-' only, one sweep per line"
        )
    return name


@dataclass(frozen=True)
class JobFolder:
    """Folder of a job, which need not exist yet."""

    path: Path

    @property
    def run(self) -> RunFolder:
        """The run's own files."""
        return RunFolder(self.path)

    @property
    def lock(self) -> Path:
        """The lock's file."""
        return self.path / LOCK

    @property
    def log(self) -> Path:
        """What all attempts printed."""
        return self.path / LOG

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint to go on from, if there is one."""
        return self.run.last if self.run.last.is_file() else None

    def record(self) -> dict[str, Any]:
        """The run's record; empty if there is none yet."""
        return _read(self.run.record)

    def about(self) -> dict[str, Any]:
        """What the sweep knows of the job: config, overrides, digest, attempts."""
        return _read(self.path / JOB)

    def config(self) -> dict[str, Any]:
        """The resolved config that the job was started with; empty if unknown."""
        found = self.about().get("config")
        return found if isinstance(found, dict) else {}

    def is_finished(self) -> bool:
        """Whether the run has ended well: its record says so, which is written last."""
        return self.record().get("status") == "finished"

    def failures(self) -> int:
        """Number of attempts that failed since somebody last asked for a fresh start."""
        return sum(attempt.get("outcome") in FAILURES for attempt in self.attempts() if not attempt.get("forgiven"))

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts, in order. One without ``outcome`` was running when its sweep was killed."""
        found = self.about().get("attempts", [])
        return [attempt for attempt in found if isinstance(attempt, dict)]

    def status(self, limit: int | None = None, look_at_lock: bool = True) -> Status:
        """What is known of the job.

        Args:
            limit: Number of failures after which it is given up; None for no limit.
            look_at_lock: Whether to say that it is running somewhere.
        """
        if self.is_finished():
            return "finished"
        if look_at_lock and is_held(self.lock):
            return "running"
        failures, attempts = self.failures(), self.attempts()
        if failures and limit is not None and failures >= limit:
            return "given up"
        if failures and attempts[-1].get("outcome") in FAILURES:
            return "failed"
        return "half-done" if self.checkpoint else "waiting"

    def begin(self, job: Job, command: list[str]) -> None:
        """Note that an attempt starts. Only the owner of the lock may call this and what follows."""
        about = self.about()
        about |= {
            "digest": job.digest,
            "overrides": list(job.overrides),
            "choices": dict(job.choices),
            "config": dict(job.config),
            "attempts": [*self.attempts(), {"started": now(), "host": socket.gethostname(), "command": command}],
        }
        write_json(self.path / JOB, about)

    def end(self, outcome: str, reason: str, seconds: float) -> None:
        """Note how an attempt ended."""
        about = self.about()
        about["attempts"][-1] |= {"ended": now(), "outcome": outcome, "seconds": round(seconds, 2)}
        if reason:
            about["attempts"][-1]["reason"] = reason
        write_json(self.path / JOB, about)

    def clear(self) -> None:
        """Remove what an attempt left that cannot be continued, which a run would refuse to overwrite."""
        for path in (self.run.record, *(self.path / name for name in self.run.would_overwrite())):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def forgive(self) -> bool:
        """Let failures so far count no longer; tell whether there were any."""
        about = self.about()
        if not self.failures():
            return False
        for attempt in about["attempts"]:
            attempt["forgiven"] = True
        write_json(self.path / JOB, about)
        return True

    def note_digest(self, digest: str) -> None:
        """Remember under which other digest the job is known, because options were added since."""
        about = self.about()
        about["also"] = [*about.get("also", []), digest]
        write_json(self.path / JOB, about)

    def seconds(self) -> float | None:
        """Time that the finished run took; None if unknown."""
        value = self.record().get("duration_seconds")
        return float(value) if isinstance(value, int | float) else None

    def metric(self, name: str, of: str = "last") -> float | None:
        """A metric of the record: ``of`` is ``last``, ``best_val``, ``best_test`` or ``mean_of_last``."""
        value = self.record().get("metrics", {}).get(of, {}).get(name)
        return float(value) if isinstance(value, int | float) else None

    def metrics(self, of: str = "last") -> list[str]:
        """Names of the metrics of the record, see ``metric``."""
        return list(self.record().get("metrics", {}).get(of, {}))

    def inactive(self) -> dict[str, str]:
        """Parts that did not act in the run, with the reason, see ``RunRecord.inactive``."""
        found = self.record().get("inactive")
        return {str(slot): str(reason) for slot, reason in found.items()} if isinstance(found, dict) else {}

    def progress(self) -> tuple[int, float | None]:
        """Number of epochs done, and the latest validation accuracy."""
        try:
            rows = read_rows(self.run.metrics)
        except (OSError, csv.Error, ValueError, TypeError):
            return 0, None
        measured = [row[accuracy(VAL)] for row in rows if accuracy(VAL) in row]
        return len(rows), measured[-1] if measured else None

    def last_lines(self, count: int = 10) -> list[str]:
        """The last lines that the job printed, blank ones left out."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - 20_000))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def job_folders(sweep: Path) -> Iterator[JobFolder]:
    """Folders of all jobs of a sweep, by name."""
    if sweep.is_dir():
        for path in sorted(sweep.iterdir()):
            if path.is_dir() and _NAME.fullmatch(path.name):
                yield JobFolder(path)


def note_planned(sweep: Path, names: Iterable[str]) -> None:
    """Note names of jobs' folders, so that jobs are known before they begin."""
    known = set(_planned(sweep))
    new = [f"{name}\n" for name in names if name not in known]
    if new:
        with (sweep / _PLANNED).open("a") as file:
            file.write("".join(new))


def planned_folders(sweep: Path) -> Iterator[JobFolder]:
    """Folders of all jobs of a sweep, by name; those of jobs that have not begun do not exist."""
    begun = {folder.path.name for folder in job_folders(sweep)}
    for name in sorted(begun.union(_planned(sweep))):
        yield JobFolder(sweep / name)


def _planned(sweep: Path) -> list[str]:
    try:
        names = (sweep / _PLANNED).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [name for name in names if is_folder_name(name)]


def folders_by_digest(sweep: Path) -> dict[str, JobFolder]:
    """Folders of all jobs of a sweep by digest, those noted later included."""
    found = {}
    for folder in job_folders(sweep):
        about = folder.about()
        for digest in (*about.get("also", []), about.get("digest")):
            found[str(digest)] = folder
    # What a folder is named after comes first.
    return found | {folder.path.name[-12:]: folder for folder in job_folders(sweep)}


def is_folder_name(name: str) -> bool:
    """Whether a name could be that of a job's folder."""
    return bool(_NAME.fullmatch(name))


def _read(path: Path) -> dict[str, Any]:
    """A JSON mapping; empty if there is none or it is damaged."""
    try:
        content = unsealed(parse_json(path.read_text()))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, Mapping) else {}  # type: ignore[return-value]
