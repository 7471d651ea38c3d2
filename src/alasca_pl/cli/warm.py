"""The process that loads libraries once and forks for each job of a sweep: ``python -m alasca_pl.cli.warm LINK PARENT``.

It gets arguments of ``alasca-train`` with the job's log and lock over LINK, an inherited socket, and answers with the process
that supervises the job, and with its status when it has ended. It has one thread, no random state and no state of Hydra's,
so that a job that it forks is like one that has just loaded the same libraries.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from alasca_pl.core import deferred, threads
from alasca_pl.core.allocation import keep_freed_memory
from alasca_pl.sweeps.supervise import SIGNALS, die_with_parent, end_as, supervise

# What a run imports in any case. Others are imported by the job.
_LOADED = (
    "alasca_pl.cli.train_command",
    "alasca_pl.runs.training_run",
    "alasca_pl.report.summary",
    "matplotlib.pyplot",
)


class Forked:
    """A job as a child of its supervisor."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Status if it has ended, negative for a signal."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status


def serve(link: socket.socket) -> None:
    """Fork for each message until the sweep closes its end."""
    numbers: dict[int, int] = {}
    template = os.getpid()
    ear, mouth = os.pipe()
    os.set_blocking(ear, False)
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([link.fileno(), ear], [], [])
        if ear in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(ear, 4096)
            for pid in list(numbers):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _tell(link, number=numbers.pop(pid), status=os.waitstatus_to_exitcode(status))
        if link.fileno() in ready:
            message, files, _, _ = socket.recv_fds(link, 1 << 20, 2)
            if not message:
                return
            asked = json.loads(message)
            pid = os.fork()
            if pid == 0:
                link.close()
                os.close(ear)
                _supervise(template, asked["arguments"], *files)
            numbers[pid] = asked["number"]
            for file in files:
                # The supervisor has the lock now.
                os.close(file)
            _tell(link, number=asked["number"], pid=pid)


def _tell(link: socket.socket, **what: int) -> None:
    link.send(json.dumps(what).encode())


def _supervise(template: int, arguments: list[str], log: int, lock: int) -> NoReturn:
    """Stand between the template and one job."""
    os.setsid()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    status = 1
    try:
        status = supervise(template, lambda: _fork_job(arguments, lock))
    except BaseException:
        traceback.print_exc()
    end_as(status)


def _fork_job(arguments: list[str], lock: int) -> Forked:
    ready, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        die_with_parent()
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        # Every other file, the lock among them: what the job forks cannot keep the lock.
        os.closerange(3, max(lock, said) + 1)
        _train(arguments)
    os.close(said)
    # Its end closes once the job leads its group; signals to it would be lost before.
    os.read(ready, 1)
    os.close(ready)
    return Forked(pid)


def _train(arguments: list[str]) -> NoReturn:
    """Be ``python -m alasca_pl.cli ARGUMENTS``."""
    from alasca_pl.cli import train

    code: object = 0
    sys.argv = [str(Path(__file__).with_name("__main__.py")), *arguments]
    try:
        train()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    """Load the libraries, and serve if that left a process that may fork."""
    die_with_parent()
    link, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    if os.getppid() != parent:
        return
    # pyarrow, which pandas loads if it is installed, would begin a thread that tidies up its memory.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    threads.stop_spinning()
    keep_freed_memory()
    deferred.install()
    for name in _LOADED:
        importlib.import_module(name)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        # Some library has begun threads, which a fork would not have; the sweep starts its jobs afresh.
        return
    gc.collect()
    gc.freeze()
    serve(link)


if __name__ == "__main__":
    main()
