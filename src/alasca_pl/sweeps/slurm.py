"""Jobs of a sweep on a cluster, through submitit."""

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.sweeps.capacity import visible_gpus
from alasca_pl.sweeps.endings import how_it_ended, last_reason
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.lock import JobLock
from alasca_pl.sweeps.pool import Interrupted, Result, Settings
from alasca_pl.sweeps.process import JobProcess, job_environment
from alasca_pl.sweeps.view import View, times

_LOOK = 0.5


class ClusterJob:
    """Runs one job inside an allocation, and again after Slurm has taken it away.

    Args:
        job: The job.
        folder: Its folder, on a file system that all machines share.
        command: Command that starts it.
        resume: Command that goes on from its last checkpoint.
        settings: See ``Settings``.
        threads: Threads per process.
        root: Folder that paths in the commands are relative to.
    """

    def __init__(
        self,
        job: Job,
        folder: JobFolder,
        command: Sequence[str],
        resume: Sequence[str],
        settings: Settings,
        threads: int | None,
        root: Path,
    ) -> None:
        self.job, self.folder, self.settings, self.threads = job, folder, settings, threads
        self.command, self.resume, self.root = list(command), list(resume), root
        self._process: JobProcess | None = None
        self._is_lost = False

    def __call__(self) -> str:
        """Run the job and return its outcome; ``elsewhere`` if somebody else has it."""
        os.chdir(self.root)
        many = (self.job.processes or 1) * self.job.machines > 1
        # Of several tasks, each of which becomes a rank, the first keeps the books.
        if many and os.environ.get("SLURM_PROCID", "0") != "0":
            return self._follow()
        self.folder.path.mkdir(parents=True, exist_ok=True)
        lock = JobLock(self.folder.lock)
        if not lock.acquire():
            return "elsewhere"
        if self.folder.is_finished():
            lock.release()
            return "finished"
        going_on = self.folder.checkpoint is not None
        if not going_on:
            self.folder.clear()
        command = self.resume if going_on else self.command
        self.folder.begin(self.job, command)
        with self.folder.log.open("a") as log:
            log.write(f"$ {shlex.join(command)}\n")
        environment = job_environment(self.threads or _cpus(), None, slurm=_has_tasks(self.job))
        process = self._process = JobProcess(command, environment, self.folder.log, lock)
        timed_out = False
        while (code := process.poll()) is None:
            if self.settings.timeout is not None and process.seconds > self.settings.timeout:
                timed_out = True
                process.signal(signal.SIGTERM)
                _wait(process, self.settings.grace)
                process.kill()
            time.sleep(0.05)
        if self._is_lost:
            # The books are kept already.
            return "interrupted"
        outcome, reason = how_it_ended(self.folder, code, self.settings.timeout if timed_out else None)
        self.folder.end(outcome, reason, process.seconds)
        process.release()
        return outcome

    def checkpoint(self) -> Any:
        """Called by submitit when the allocation ends early: stop the job, and ask for it to be queued again."""
        from submitit.helpers import DelayedSubmission

        process = self._process
        if process is not None and process.poll() is None:
            self._is_lost = True
            process.signal(signal.SIGTERM)
            _wait(process, self.settings.grace)
            process.kill()
            self.folder.end("interrupted", "", process.seconds)
            process.release()
        again = ClusterJob(self.job, self.folder, self.command, self.resume, self.settings, self.threads, self.root)
        return DelayedSubmission(again)

    def _follow(self) -> str:
        """A further rank: the same command, without books."""
        import subprocess

        going_on = self.folder.checkpoint is not None
        environment = job_environment(self.threads or _cpus(), None, slurm=True)
        done = subprocess.run(self.resume if going_on else self.command, env=environment, check=False)
        return "finished" if done.returncode == 0 else "failed"


def _wait(process: JobProcess, seconds: float) -> None:
    stop = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < stop:
        time.sleep(0.05)


def _cpus() -> int | None:
    value = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(value) if value.isdigit() else None


def _has_tasks(job: Job) -> bool:
    """Whether Slurm starts the ranks of a job. On one machine it starts them itself, unless there are tasks for them."""
    return (job.processes or 1) * job.machines > 1 and int(os.environ.get("SLURM_NTASKS", "1")) > 1


def run_on_cluster(
    jobs: Sequence[tuple[Job, JobFolder]],
    command_for: Callable[[Job, JobFolder, Path | None], list[str]],
    settings: Settings,
    view: View,
    folder: Path,
    cluster: str = "slurm",
    parameters: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> list[Result]:
    """Submit what is not finished as arrays of jobs, and wait for it.

    Args:
        jobs: The jobs and their folders.
        command_for: Makes commands; see ``run_jobs``.
        settings: See ``Settings``; ``retries`` and ``on_out_of_memory`` have no effect here.
        view: Tells how it goes.
        folder: For submitit's files.
        cluster: ``slurm``, or ``local`` for processes of this machine.
        parameters: Of submitit's executor.
        threads: Threads per process; None for the number of processors per task.

    Raises:
        UserError: If submitit or Slurm is missing.
        Interrupted: If the waiting is interrupted. Submitted jobs stay in the queue.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError('hydra/launcher=slurm needs the package submitit: pip install "alasca-pl[slurm]"') from error
    results: dict[str, Result] = {}
    waiting: list[tuple[Job, JobFolder]] = []
    for job, where in jobs:
        status = where.status(settings.limit, look_at_lock=False)
        if status == "finished":
            results[job.digest] = _result(job, where, settings, ran=False)
        elif status == "given up":
            reason = f"failed {times(where.failures())}: {last_reason(where)}"
            results[job.digest] = Result(job, where, "given up", reason)
        else:
            waiting.append((job, where))
    for each in results.values():
        view.ended(each.job, each.folder, each.outcome, each.reason, each.ran)
    view.start(jobs, results.values(), int((parameters or {}).get("slurm_array_parallelism", 1)))
    submitted: list[tuple[Job, JobFolder, Any]] = []
    try:
        for shape, members in _by_shape(waiting).items():
            try:
                executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
                executor.update_parameters(**_parameters(cluster, parameters or {}, *shape))
            except RuntimeError as error:
                raise UserError(f"hydra/launcher=slurm: {error}") from error
            tasks = []
            for job, where in members:
                commands = command_for(job, where, None), command_for(job, where, where.run.last)
                tasks.append(ClusterJob(job, where, *commands, settings, threads, Path.cwd()))
            handles = executor.submit_array(tasks)
            submitted += [(job, where, handle) for (job, where), handle in zip(members, handles)]
            view.note(f"{len(handles)} jobs submitted as {handles[0].job_id}")
        _wait_for_all(submitted, results, settings, view)
    except KeyboardInterrupt as stop:
        view.note("no longer waiting; submitted jobs stay in the queue (scancel takes them out)")
        for job, where, _ in submitted:
            results.setdefault(job.digest, Result(job, where, "not run", "not waited for"))
        for job, where in waiting:
            results.setdefault(job.digest, Result(job, where, "not run", "not submitted"))
        raise Interrupted([results[job.digest] for job, _ in jobs], signal.SIGINT) from stop
    finally:
        view.stop()
    return [results[job.digest] for job, _ in jobs]


def _by_shape(jobs: Sequence[tuple[Job, JobFolder]]) -> dict[tuple[int, int, bool], list[tuple[Job, JobFolder]]]:
    """Jobs by number of machines, processes per machine, and whether they train on GPUs: one array each."""
    shapes: dict[tuple[int, int, bool], list[tuple[Job, JobFolder]]] = {}
    for job, where in jobs:
        shape = (job.machines, job.processes or 1, job.accelerator in ("gpu", "cuda"))
        shapes.setdefault(shape, []).append((job, where))
    return shapes


def _parameters(cluster: str, given: Mapping[str, Any], machines: int, processes: int, gpu: bool) -> dict[str, Any]:
    """Parameters of submitit for jobs of one shape; what is null is left to Slurm."""
    parameters = {name: value for name, value in given.items() if value is not None}
    if gpu:
        parameters.setdefault("gpus_per_node", processes)
    if machines * processes > 1 and cluster == "slurm":
        # Lightning finds Slurm's tasks and makes each a rank.
        parameters |= {"nodes": machines, "tasks_per_node": processes}
    if cluster != "slurm":
        parameters = {name: value for name, value in parameters.items() if not name.startswith("slurm_")}
        if gpu and not visible_gpus():
            parameters.pop("gpus_per_node", None)
    return parameters


def _wait_for_all(
    submitted: Sequence[tuple[Job, JobFolder, Any]], results: dict[str, Result], settings: Settings, view: View
) -> None:
    left, begun = list(submitted), time.monotonic()
    while left:
        still = []
        for job, where, handle in left:
            if not handle.done():
                still.append((job, where, handle))
                continue
            outcome = "failed"
            with contextlib.suppress(Exception):
                # A job that Slurm ended has no result; its folder says how far it came.
                outcome = handle.results()[0]
            if where.is_finished():
                result = _result(job, where, settings, ran=True)
            elif outcome == "elsewhere":
                result = Result(job, where, "not run", "another allocation has it", ran=False)
            else:
                result = Result(job, where, outcome, _why(where, handle), ran=True)
            results[job.digest] = result
            view.ended(job, where, result.outcome, result.reason, result.ran)
        left = still
        running = [(job, where, time.monotonic() - begun) for job, where, handle in left if handle.state == "RUNNING"]
        view.show(running, len(left) - len(running), 0)
        if left:
            time.sleep(_LOOK)


def _why(where: JobFolder, handle: Any) -> str:
    attempts = where.attempts()
    if attempts and attempts[-1].get("reason"):
        return str(attempts[-1]["reason"])
    return f"the job ended as {handle.state}; {handle.paths.stderr} may say why"


def _result(job: Job, where: JobFolder, settings: Settings, ran: bool) -> Result:
    return Result(job, where, "finished", ran=ran, value=where.metric(settings.metric, settings.metric_of))
