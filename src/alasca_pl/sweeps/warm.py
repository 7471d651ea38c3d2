"""Jobs that begin with all libraries loaded: a process loads them once and forks for each job.

Jobs behave as those of ``JobProcess`` do: a supervisor stands between the sweep and each job, and keeps its lock. Only for
jobs of one process and one thread on the CPU: neither threads nor a GPU's context survive a fork.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alasca_pl.sweeps.lock import JobLock
from alasca_pl.sweeps.process import JobProcess, Process

_TEMPLATE = "alasca_pl.cli.warm"
_TRAINS = ["-P", "-m", "alasca_pl.cli"]
_MESSAGE = 1 << 20


class WarmStart:
    """Starts jobs from a process that has loaded the libraries.

    Args:
        threads: Threads per process. Jobs of several are started afresh.
    """

    def __init__(self, threads: int | None) -> None:
        self._possible = threads == 1 and sys.platform == "linux"
        self._template: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._sent: dict[int, WarmProcess] = {}
        self._number = 0

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, lock: JobLock, alone: bool
    ) -> Process:
        """Start a job.

        Args:
            command: The command.
            environment: Its environment. All jobs that are forked have that of the first.
            log: File that gets what it prints, after what is there.
            lock: The job's lock, taken.
            alone: Whether the job is one process on the CPU.
        """
        if not self._possible or not alone or list(command[1:4]) != _TRAINS:
            return JobProcess(command, environment, log, lock)
        if self._link is None:
            self._begin(environment)
        assert self._link is not None
        process = WarmProcess(self, command, environment, log, lock)
        self._number += 1
        message = json.dumps({"number": self._number, "arguments": list(command[4:])}).encode()
        try:
            with log.open("ab") as file:
                socket.send_fds(self._link, [message], [file.fileno(), lock.descriptor])
        except OSError:
            self._lost()
            return JobProcess(command, environment, log, lock)
        self._sent[self._number] = process
        return process

    def listen(self) -> None:
        """Take what the template tells of its jobs."""
        while self._link is not None:
            try:
                message = self._link.recv(_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._lost()
                return
            told: dict[str, Any] = json.loads(message)
            process = self._sent[told["number"]]
            if "pid" in told:
                process.begun(told["pid"])
            else:
                del self._sent[told["number"]]
                process.ended(told["status"])

    def stop(self) -> None:
        """End the template. Jobs that still run would end with it."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._template is not None:
            self._template.kill()
            self._template.wait()
            self._template = None

    def _begin(self, environment: Mapping[str, str]) -> None:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._template = subprocess.Popen(
                [sys.executable, "-P", "-m", _TEMPLATE, str(its.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=(its.fileno(),),
                start_new_session=True,
            )
        mine.setblocking(False)
        self._link = mine

    def _lost(self) -> None:
        """The template has ended, because it cannot fork or was killed; jobs that it had begun are killed with it."""
        self._possible = False
        self.stop()
        for process in self._sent.values():
            process.abandoned()
        self._sent.clear()


class WarmProcess:
    """A job that is forked, or waits for that. See ``JobProcess``."""

    def __init__(
        self, owner: WarmStart, command: Sequence[str], environment: Mapping[str, str], log: Path, lock: JobLock
    ) -> None:
        self._owner = owner
        self._fresh = (command, environment, log, lock)
        self._instead: JobProcess | None = None
        self._lock = lock
        self._supervisor: int | None = None
        self._status: int | None = None
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    def poll(self) -> int | None:
        """Status of the job if it has ended, negative for a signal."""
        self._owner.listen()
        return self._status if self._instead is None else self._instead.poll()

    def signal(self, number: int) -> None:
        """Send SIGINT or SIGTERM to all processes of the job."""
        if self.poll() is not None:
            return
        if self._instead is not None:
            self._instead.signal(number)
        elif self._supervisor is None:
            # While libraries load there is nothing to end; it will not begin, see ``begun``.
            self._status = -number
        else:
            _send(self._supervisor, number)

    def kill(self) -> None:
        """Kill the job with all its processes, and wait for that."""
        self.signal(signal.SIGUSR1)
        stop = time.monotonic() + 10
        while self.poll() is None and time.monotonic() < stop:
            time.sleep(0.01)
        if self._instead is not None:
            self._instead.kill()
        elif self._supervisor is not None and self._status is None:
            # The kernel kills the job with its supervisor.
            _send(self._supervisor, signal.SIGKILL)

    def release(self) -> None:
        """Give the lock back, once the job has ended."""
        self._lock.release()

    def begun(self, supervisor: int) -> None:
        """Note which process supervises the job."""
        self._supervisor = supervisor
        if self._status is not None:
            _send(supervisor, signal.SIGUSR1)

    def ended(self, status: int) -> None:
        """Note how the job ended."""
        if self._status is None:
            self._status = status

    def abandoned(self) -> None:
        """Begin afresh if it was not begun; else wait until it is gone."""
        if self._status is None and self._supervisor is None:
            self._instead = JobProcess(*self._fresh)
        elif self._supervisor is not None:
            stop = time.monotonic() + 10
            while _send(self._supervisor, 0) and time.monotonic() < stop:
                time.sleep(0.02)
            self.ended(-signal.SIGKILL)


def _send(process: int, number: int) -> bool:
    """Send a signal; tell whether the process exists."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True
