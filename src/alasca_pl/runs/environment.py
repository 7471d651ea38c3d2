"""Environment of a run: time, versions, hardware, source tree, memory."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


_PACKAGES = (
    "alasca-pl",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "numpy",
    "scikit-learn",
    "timm",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the relevant packages, if installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, threads and, once they are in use, accelerators."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    # The query would initialise CUDA in this process, after which it cannot be forked.
    count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    gpus = [torch.cuda.get_device_name(number) for number in range(count)]
    return {"cpu": model, "cpus": os.cpu_count(), "threads": torch.get_num_threads(), "gpus": gpus}


def git_state() -> dict[str, Any] | None:
    """Revision of this source tree and whether it has changes; None if it is not a checkout or git is missing."""
    folder = Path(__file__).parent

    def ask(*command: str) -> str | None:
        try:
            # A run that is killed meanwhile must not leave a lock in the user's repository.
            call = ["git", "--no-optional-locks", *command]
            done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may be inside another repository.
    if ask("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return {"revision": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "--untracked-files=no"))}


def peak_memory() -> dict[str, int]:
    """Largest memory so far in megabytes: of this process with all its libraries, and of each accelerator in use."""
    found: dict[str, int] = {}
    if resource is not None:
        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if platform.system() == "Darwin" else 1024
        found["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_000_000
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            found[f"cuda:{number}"] = torch.cuda.max_memory_allocated(number) // 1_000_000
    return found
