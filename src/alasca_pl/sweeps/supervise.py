"""Stands between a sweep and one job, so that the job ends when the sweep does.

Run as a script, with the standard library only: ``python -I -S supervise.py PARENT COMMAND...``. It keeps the lock that it
inherits until the job and all that the job started are gone. Signals are passed on to all processes of the job; SIGUSR1
kills them. The script ends as the job did, by the same signal if it was one.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

_PASSED_ON = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGKILL,
    signal.SIGUSR2: signal.SIGTERM,
}
SIGNALS = (*_PASSED_ON, signal.SIGCHLD)
"""What a supervisor takes; a job that is forked gets them back from it."""

# How often the parent is looked after, in seconds.
_LOOK = 0.1


class Watched(Protocol):
    """A job's first process, the leader of its group."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Status if it has ended, negative for a signal."""


def die_with_parent() -> None:
    """Let the kernel kill this process if its parent is killed. Linux only."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _signal_all(group: int, number: int) -> bool:
    """Signal all processes of a group; tell whether there are any."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def supervise(parent: int, start: Callable[[], Watched]) -> int:
    """Start a job, watch it until it ends or the parent is gone, and return its status as ``subprocess`` gives it."""
    received: list[int] = []
    ear, mouth = os.pipe()
    os.set_blocking(ear, False)
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: received.append(number))
    job = start()
    while (status := job.poll()) is None:
        while received:
            number = signal.Signals(received.pop(0))
            if number in _PASSED_ON:
                _signal_all(job.pid, _PASSED_ON[number])
        if os.getppid() != parent:
            _signal_all(job.pid, signal.SIGKILL)
        select.select([ear], [], [], _LOOK)
        with contextlib.suppress(BlockingIOError):
            os.read(ear, 4096)
    # Ranks and loader workers that the job left behind.
    stop = time.monotonic() + 5
    while _signal_all(job.pid, signal.SIGKILL) and time.monotonic() < stop:
        time.sleep(0.02)
    return status


def end_as(status: int) -> NoReturn:
    """End this process with a status as ``subprocess`` gives it, by the same signal if it was one."""
    if status < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    command = sys.argv[2:]
    # Other files, the lock among them, are closed in the job: what it forks cannot keep the lock.
    end_as(
        supervise(
            int(sys.argv[1]),
            lambda: subprocess.Popen(command, start_new_session=True, preexec_fn=die_with_parent),
        )
    )
