"""A job as a process that ends when the sweep does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from alasca_pl.sweeps.lock import JobLock

_SUPERVISOR = Path(__file__).with_name("supervise.py")
# What launchers of processes leave in the environment; a job would take itself for one of their ranks.
_OF_LAUNCHERS = (
    "LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
)  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def job_environment(
    threads: int | None, devices: Sequence[str] | None, base: Mapping[str, str] | None = None, slurm: bool = False
) -> dict[str, str]:
    """Environment of a job.

    Args:
        threads: Threads per process; None leaves it to the libraries. What the user has set stays.
        devices: GPUs that the job may see; None for no restriction.
        base: Environment to start from; by default this process's.
        slurm: Whether the job is to find Slurm's variables. Without them a job of one machine starts its own processes.
    """
    environment = dict(os.environ if base is None else base)
    for name in list(environment):
        if name in _OF_LAUNCHERS or (not slurm and name.startswith(("SLURM_", "SLURMD_"))):
            del environment[name]
    if threads is not None and not any(name in environment for name in _THREADS):
        environment |= dict.fromkeys(_THREADS, str(threads))
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return environment


class Process(Protocol):
    """A running job with all its processes; see ``JobProcess``."""

    @property
    def seconds(self) -> float: ...

    def poll(self) -> int | None: ...

    def signal(self, number: int) -> None: ...

    def kill(self) -> None: ...

    def release(self) -> None: ...


class JobProcess:
    """A running job with all its processes.

    Args:
        command: The command.
        environment: Its environment.
        log: File that gets what it prints, after what is there.
        lock: The job's lock, taken. The supervisor keeps it if this process dies, until the job is gone.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, lock: JobLock) -> None:
        self._lock = lock
        self.started = time.monotonic()
        file: BinaryIO
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=(lock.descriptor,),
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def poll(self) -> int | None:
        """Status of the job if it has ended, negative for a signal."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send SIGINT or SIGTERM to all processes of the job."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the job with all its processes, and wait for that."""
        self.signal(signal.SIGUSR1)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def release(self) -> None:
        """Give the lock back, once the job has ended."""
        self._lock.release()
