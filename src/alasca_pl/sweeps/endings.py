"""How attempts at jobs ended, and why."""

import signal

from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job


def where_interrupted(job: Job, folder: JobFolder) -> str:
    """Where a job was interrupted, and what the same line will do."""
    done, _ = folder.progress()
    epoch = f"in epoch {done + 1} of {job.epochs}" if done < (job.epochs or done) else f"after {done} epochs"
    if folder.checkpoint is None:
        return f"{epoch}, before its first checkpoint; the same line begins it again"
    return f"{epoch}; the same line goes on from its checkpoint"


def how_it_ended(folder: JobFolder, code: int, timeout: float | None = None) -> tuple[str, str]:
    """Outcome of an attempt that has ended, and why.

    Args:
        folder: The job's folder.
        code: Status of its process, negative for a signal.
        timeout: The limit, if it was ended for that.
    """
    if folder.is_finished():
        # A job that did its work and then died has done its work.
        return "finished", ""
    if timeout is not None:
        return "timeout", f"no end after {timeout:g} s (hydra.launcher.timeout)"
    if code == -signal.SIGKILL:
        return "killed", "killed by SIGKILL, as the kernel does when memory runs out"
    return "failed", _reason(folder, code)


def last_reason(folder: JobFolder) -> str:
    """Why the latest failed attempt failed."""
    return str(next((each["reason"] for each in reversed(folder.attempts()) if each.get("reason")), "no reason known"))


def _reason(folder: JobFolder, code: int) -> str:
    """Why a job failed: what its record says, else its last error message, else its status."""
    how = f"ended by signal {-code}" if code < 0 else f"ended with status {code}"
    problem = folder.record().get("problem")
    if isinstance(problem, str) and problem:
        return f"{problem} ({how})"
    for line in reversed(folder.last_lines(40)):
        if line.startswith("$ "):
            break
        if line.startswith("error:") or line.split(":")[0].endswith(("Error", "Exception")):
            return f"{line} ({how})"
    return how if code else f"{how}, but its record does not say that it has finished"
