"""One owner per job, also among several shells and machines."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from alasca_pl.core.errors import UserError


class JobLock:
    """A lock on a file that the kernel releases when its last owner is dead, however it died.

    Owners are this process and those that it hands ``descriptor`` to. Between machines it holds where the file system passes
    ``flock`` on: NFS version 4, CephFS, GPFS, Lustre mounted with ``flock``. The file stays: who removed it could take
    the lock from under another who waits for it.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise UserError(
                "sweeps with hydra/launcher=local need Linux or macOS; hydra/launcher=basic runs jobs one by one"
            )
        self.path = path
        self.descriptor = -1

    def acquire(self) -> bool:
        """Take the lock if nobody has it, and tell whether it was taken."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Give this process's hold on the lock back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_held(path: Path) -> bool:
    """Whether some process owns a lock right now."""
    if not path.is_file():
        return False
    lock = JobLock(path)
    if lock.acquire():
        lock.release()
        return False
    return True
