"""How many jobs run at once, and on which devices."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alasca_pl.core.errors import UserError
from alasca_pl.core.threads import cores
from alasca_pl.sweeps.job import Job

# What a job takes with all its libraries, roughly.
_MEMORY_PER_JOB = 1.5e9


def free_memory() -> float | None:
    """Bytes of memory that are free, as far as the system and its container say; None if they do not."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(float(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = float(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            found.append(float(limit) - used)
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def visible_gpus() -> list[str]:
    """GPUs that this process may use, in the form of ``CUDA_VISIBLE_DEVICES``; found without CUDA."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.split() if done.returncode == 0 else []
    return [line for line in lines if line.isdigit()]


@dataclass(frozen=True)
class Place:
    """What a job was given.

    Attributes:
        weight: Number of places on the CPU.
        devices: GPUs, or None if it needs none.
    """

    weight: int
    devices: tuple[str, ...] | None = None


class Capacity:
    """Hands out places.

    A job on the CPU takes one place per process. A job on GPUs takes one place on each of as many GPUs as it has processes,
    and one of the jobs that may run at once.

    Args:
        jobs: How many jobs run at once; ``auto``: as many as there are cores and memory, or places on GPUs.
        gpus: GPUs that may be used.
        jobs_per_device: How many jobs share a GPU.
        threads: Threads per process; ``auto``: cores divided by jobs.
        expected: The jobs, for ``auto``.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(
        self,
        jobs: int | str,
        gpus: Sequence[str] = (),
        jobs_per_device: int = 1,
        threads: int | str | None = "auto",
        expected: Sequence[Job] = (),
    ) -> None:
        for name, value in (("jobs", jobs), ("jobs_per_device", jobs_per_device), ("threads", threads)):
            positive = isinstance(value, int) and not isinstance(value, bool) and value > 0
            if not positive and not (value == "auto" and name != "jobs_per_device") and value is not None:
                raise UserError(f"hydra.launcher.{name} must be a whole number of at least 1, or auto, got {value!r}")
        self._free_gpus = dict.fromkeys(gpus, jobs_per_device)
        on_gpus = any(self.wants_gpu(job) for job in expected)
        if jobs == "auto" or jobs is None:
            if on_gpus:
                jobs = len(gpus) * jobs_per_device
            else:
                memory = free_memory()
                jobs = cores() if memory is None else min(cores(), int(memory / _MEMORY_PER_JOB))
            processes = sum(job.processes or 1 for job in expected)
            jobs = max(1, min(jobs, processes) if expected else jobs)
        self.places = int(jobs)
        self._taken = 0
        self.threads = max(1, cores() // self.places) if threads == "auto" else threads

    def wants_gpu(self, job: Job) -> bool:
        """Whether a job would train on GPUs here."""
        return bool(self._free_gpus) and job.accelerator in ("gpu", "cuda", "auto")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is taken."""
        return self._taken == 0

    def take(self, job: Job) -> Place | None:
        """Places for a job, or None if it has to wait. A job that is too large for all of them gets all of them."""
        if self.wants_gpu(job):
            wanted = min(job.processes or len(self._free_gpus), len(self._free_gpus))
            free = sorted(self._free_gpus, key=lambda gpu: -self._free_gpus[gpu])[:wanted]
            if any(self._free_gpus[gpu] == 0 for gpu in free) or self._taken >= self.places:
                return None
            for gpu in free:
                self._free_gpus[gpu] -= 1
            self._taken += 1
            return Place(1, tuple(free))
        weight = min(job.processes or 1, self.places)
        if self._taken + weight > self.places and self._taken:
            return None
        self._taken += weight
        return Place(weight)

    def give_back(self, place: Place) -> None:
        """Return places."""
        self._taken -= place.weight
        for gpu in place.devices or ():
            self._free_gpus[gpu] += 1

    def shrink(self) -> bool:
        """Run half as many jobs at once from now on; tell whether that is fewer."""
        before = self.places
        self.places = max(1, self.places // 2)
        return self.places < before
