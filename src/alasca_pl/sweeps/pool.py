"""Runs the jobs of a sweep, each in a process of its own, so many at once as there is room for."""

import contextlib
import shlex
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from alasca_pl.core.errors import UserError
from alasca_pl.sweeps.capacity import Capacity, Place
from alasca_pl.sweeps.endings import how_it_ended, last_reason, where_interrupted
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.lock import JobLock
from alasca_pl.sweeps.process import Process, job_environment
from alasca_pl.sweeps.view import View, times
from alasca_pl.sweeps.warm import WarmStart

# From a job, its folder and the checkpoint to go on from, to the command that runs it.
CommandFor = Callable[[Job, JobFolder, Path | None], list[str]]

_POLL = 0.05
# How often a job that somebody else has is looked after.
_LOOK_ELSEWHERE = 0.5


@dataclass(frozen=True)
class Settings:
    """How jobs are run.

    Attributes:
        timeout: Seconds after which a job is ended and counts as failed; None for no limit.
        grace: Seconds that a job gets to end after a signal, before it is killed.
        limit: Number of failures after which a job is not tried again until ``alasca-sweep retry``; None for no limit.
        retries: How often a failed job is tried again at once.
        on_out_of_memory: ``fail``, or ``fewer``: run half as many jobs at once from then on, and the job again.
        metric: What a job returns to a sweeper.
        metric_of: Epoch whose metric it is: ``last``, ``best_val``, ``best_test`` or ``mean_of_last``.
        warm: Whether jobs on one core are forked from a process that has loaded the libraries.
    """

    timeout: float | None = None
    grace: float = 60.0
    limit: int | None = 3
    retries: int = 0
    on_out_of_memory: Literal["fail", "fewer"] = "fail"
    metric: str = "val/acc"
    metric_of: str = "last"
    warm: bool = True

    def __post_init__(self) -> None:
        if self.on_out_of_memory not in ("fail", "fewer"):
            raise UserError(f"hydra.launcher.on_out_of_memory must be fail or fewer, got {self.on_out_of_memory!r}")
        for name, least in (("timeout", 0), ("grace", 0), ("limit", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < least):
                raise UserError(f"hydra.launcher.{name} must be a number of at least {least}, got {value!r}")


@dataclass
class Result:
    """How a job stands at the end.

    Attributes:
        job: The job.
        folder: Its folder.
        outcome: ``finished``, ``failed``, ``killed``, ``timeout``, ``given up``, ``interrupted`` or ``not run``.
        reason: Why it has not finished.
        ran: Whether this call has run it.
        value: The metric, if it has finished.
    """

    job: Job
    folder: JobFolder
    outcome: str
    reason: str = ""
    ran: bool = False
    value: float | None = None


@dataclass
class _Running:
    job: Job
    folder: JobFolder
    process: Process
    place: Place
    deadline: float | None
    ended_for: str = ""
    kill_at: float | None = None
    progress: tuple[int, float | None] = field(default=(0, None))


class Interrupted(Exception):  # noqa: N818
    """The sweep was told to stop.

    Attributes:
        results: How the jobs stand.
        signal: The signal.
    """

    def __init__(self, results: list[Result], number: int) -> None:
        super().__init__("interrupted")
        self.results = results
        self.signal = number


def run_jobs(
    jobs: Sequence[tuple[Job, JobFolder]],
    command_for: CommandFor,
    capacity: Capacity,
    settings: Settings,
    view: View,
) -> list[Result]:
    """Run what is not finished, and return how each job stands.

    A job that is finished is not run. One that somebody else runs is waited for. One that was interrupted goes on from its
    last checkpoint. A failed one is tried again unless it has failed too often.

    Raises:
        Interrupted: If SIGINT, SIGTERM or SIGHUP arrives. Jobs that run get it too, and are waited for.
    """
    return _Pool(jobs, command_for, capacity, settings, view).run()


class _Pool:
    def __init__(
        self,
        jobs: Sequence[tuple[Job, JobFolder]],
        command_for: CommandFor,
        capacity: Capacity,
        settings: Settings,
        view: View,
    ) -> None:
        self.jobs = list(jobs)
        self.command_for = command_for
        self.capacity = capacity
        self.settings = settings
        self.view = view
        self.waiting: deque[tuple[Job, JobFolder]] = deque()
        self.elsewhere: list[tuple[Job, JobFolder]] = []
        self.running: list[_Running] = []
        self.results: dict[str, Result] = {}
        self.tried: dict[str, int] = {}
        self.signals: list[int] = []
        self.stopping = 0
        self.warm = WarmStart(_threads(capacity) if settings.warm else None)

    def run(self) -> list[Result]:
        for job, folder in self.jobs:
            status = folder.status(self.settings.limit, look_at_lock=False)
            if status == "finished":
                self._finished(job, folder, ran=False)
            elif status == "given up":
                reason = f"failed {times(folder.failures())}: {last_reason(folder)}"
                self._settle(Result(job, folder, "given up", reason))
            else:
                self.waiting.append((job, folder))
        self.view.start(self.jobs, self.results.values(), self.capacity.places)
        next_look = 0.0
        try:
            with self._signals_noted():
                while self.running or ((self.waiting or self.elsewhere) and not self.stopping):
                    self._react()
                    if not self.stopping:
                        self._start()
                        if time.monotonic() >= next_look:
                            next_look = time.monotonic() + _LOOK_ELSEWHERE
                            self._look_elsewhere()
                    self._collect()
                    self.view.show(
                        [(each.job, each.folder, each.process.seconds) for each in self.running],
                        len(self.waiting),
                        len(self.elsewhere),
                    )
                    time.sleep(_POLL)
        finally:
            # Only a mistake in this program leaves any; they must not outlive it.
            for each in self.running:
                each.process.kill()
                each.process.release()
            self.warm.stop()
            self.view.stop()
        for job, folder in self.waiting:
            self._settle(Result(job, folder, "not run", "the sweep was interrupted"))
        for job, folder in self.elsewhere:
            self._settle(Result(job, folder, "not run", "another process runs it"))
        ordered = [self.results[job.digest] for job, _ in self.jobs]
        if self.stopping:
            raise Interrupted(ordered, self.stopping)
        return ordered

    def _start(self) -> None:
        while self.waiting:
            job, folder = self.waiting[0]
            place = self.capacity.take(job)
            if place is None:
                return
            self.waiting.popleft()
            try:
                started = self._try_to_start(job, folder, place)
            except BaseException:
                self.capacity.give_back(place)
                raise
            if not started:
                self.capacity.give_back(place)

    def _try_to_start(self, job: Job, folder: JobFolder, place: Place) -> bool:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = JobLock(folder.lock)
        if not lock.acquire():
            self.elsewhere.append((job, folder))
            return False
        try:
            # Somebody else may have run it since it was looked at.
            if folder.is_finished():
                self._finished(job, folder, ran=False)
                return False
            checkpoint = folder.checkpoint
            if checkpoint is None:
                folder.clear()
            command = self.command_for(job, folder, checkpoint)
            folder.begin(job, command)
            with folder.log.open("a") as log:
                log.write(f"$ {shlex.join(command)}\n")
            environment = job_environment(_threads(self.capacity), place.devices)
            alone = place.devices is None and job.is_one_process_on_cpu
            process = self.warm.start(command, environment, folder.log, lock, alone)
        except BaseException:
            lock.release()
            raise
        limit = self.settings.timeout
        deadline = None if limit is None else time.monotonic() + limit
        self.running.append(_Running(job, folder, process, place, deadline))
        self.tried[job.digest] = self.tried.get(job.digest, 0) + 1
        self.view.started(job, folder, goes_on=checkpoint is not None)
        return True

    def _look_elsewhere(self) -> None:
        still = []
        for job, folder in self.elsewhere:
            if folder.is_finished():
                self._finished(job, folder, ran=False)
            elif folder.status(self.settings.limit) == "running":
                still.append((job, folder))
            elif folder.status(self.settings.limit, look_at_lock=False) == "given up":
                self._settle(Result(job, folder, "given up", last_reason(folder)))
            else:
                self.waiting.append((job, folder))
        self.elsewhere = still

    def _collect(self) -> None:
        moment = time.monotonic()
        for each in list(self.running):
            code = each.process.poll()
            if code is None:
                if each.deadline is not None and moment >= each.deadline and not each.ended_for:
                    each.ended_for = "timeout"
                    each.process.signal(signal.SIGTERM)
                    each.kill_at = moment + self.settings.grace
                if each.kill_at is not None and moment >= each.kill_at:
                    each.process.kill()
                continue
            self.running.remove(each)
            self._ended(each, code)
            each.process.release()
            self.capacity.give_back(each.place)

    def _ended(self, each: _Running, code: int) -> None:
        job, folder, seconds = each.job, each.folder, each.process.seconds
        if folder.is_finished():
            folder.end("finished", "", seconds)
            self._finished(job, folder, ran=True)
            return
        if each.ended_for == "interrupted":
            folder.end("interrupted", "", seconds)
            self._settle(Result(job, folder, "interrupted", where_interrupted(job, folder), ran=True))
            return
        outcome, reason = how_it_ended(folder, code, self.settings.timeout if each.ended_for == "timeout" else None)
        folder.end(outcome, reason, seconds)
        out_of_memory = outcome == "killed" or "out of memory" in reason.lower()
        if out_of_memory and self.settings.on_out_of_memory == "fewer" and self.capacity.shrink():
            self.view.note(f"{job.folder_name}: {reason}; from now on {self.capacity.places} at once")
            self.waiting.append((job, folder))
        elif self.tried[job.digest] <= self.settings.retries and not self.stopping:
            self.view.note(f"{job.folder_name}: {reason}; once more")
            self.waiting.append((job, folder))
        else:
            self._settle(Result(job, folder, outcome, reason, ran=True))

    def _finished(self, job: Job, folder: JobFolder, ran: bool) -> None:
        value = folder.metric(self.settings.metric, self.settings.metric_of)
        self._settle(Result(job, folder, "finished", ran=ran, value=value))

    def _settle(self, result: Result) -> None:
        self.results[result.job.digest] = result
        self.view.ended(result.job, result.folder, result.outcome, result.reason, result.ran)

    @contextlib.contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """Note signals instead of dying of them, so that jobs can end well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            # Such as under nohup.
            if signal.getsignal(number) != signal.SIG_IGN
        ]
        before = [signal.signal(number, lambda number, frame: self.signals.append(number)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before):
                signal.signal(number, handler)

    def _react(self) -> None:
        while self.signals:
            number = self.signals.pop(0)
            again, self.stopping = bool(self.stopping), self.stopping or number
            passed_on = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
            if again:
                self.view.note("killing the jobs that still run")
            else:
                self.view.note(f"stopping: {len(self.running)} running jobs end first; once more kills them")
            for each in self.running:
                each.ended_for = each.ended_for or "interrupted"
                each.kill_at = time.monotonic() + (0.0 if again else self.settings.grace)
                if not again:
                    each.process.signal(passed_on)


def _threads(capacity: Capacity) -> int | None:
    return capacity.threads if isinstance(capacity.threads, int) else None
