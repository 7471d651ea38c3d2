"""What becomes of a command: each runs in a process forked from the tests, which have loaded the libraries already."""

import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn
from unittest import mock

# Address space for one command: what needs more would end in the kernel's hands on other machines.
MEMORY = 24 << 30
HINT = "(HYDRA_FULL_ERROR=1 shows where it came from)"


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        kind: ``done``, ``refused`` in one line with nothing written, ``stopped`` in one line after something was written,
            ``untold`` for a status without one line, ``traceback``, ``killed`` by a signal, or ``hang``.
        message: The line that says why, or the end of what was printed.
        left: Files and folders that it has written, relative to its folder.
    """

    kind: str
    message: str
    left: tuple[str, ...]


def warm_up() -> None:
    """Import what commands import, so that forked ones need not."""
    for name in ("cli.train_command", "runs.training_run", "report.summary", "runs.load", "cli.audit_command"):
        importlib.import_module(f"alasca_pl.{name}")
    importlib.import_module("matplotlib.pyplot")


def run_forked(folder: Path, call: Callable[[], object], seconds: float = 120.0) -> Ended:
    """Call something in a forked process and tell how it ended.

    Args:
        folder: Folder in which it runs; new files in it count as written.
        call: What is called, e.g. a command; see ``typed``.
        seconds: Time after which it hangs.
    """
    said = folder.with_name(f"{folder.name}.said")
    before = _files(folder)
    child = os.fork()
    if child == 0:
        _be(call, folder, said)
    stop = time.monotonic() + seconds
    ended, status = 0, 0
    while not ended and time.monotonic() < stop:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    # It leads its own group; whatever it has left behind ends with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    text = said.read_text(errors="replace")
    said.unlink()
    left = tuple(sorted(_files(folder) - before))
    return Ended(*_kind(None if not ended else os.waitstatus_to_exitcode(status), text, left), left)


def typed(command: Callable[[], None], *words: str) -> Callable[[], None]:
    """A command as if it were typed with some words."""

    def call() -> None:
        sys.argv = ["alasca", *words]
        # Drawing curves takes longer than such a run.
        with mock.patch("alasca_pl.report.curves.plot_curves"):
            command()

    return call


def _be(call: Callable[[], object], folder: Path, said: Path) -> NoReturn:
    """Be the child: never return to the tests."""
    code: object = 0
    try:
        os.setsid()
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        empty = os.open(os.devnull, os.O_RDONLY)
        for stream, target in ((0, empty), (1, file), (2, file)):
            os.dup2(target, stream)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        os.environ.pop("HYDRA_FULL_ERROR", None)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.resetwarnings()
        call()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _files(folder: Path) -> set[str]:
    return {os.fsdecode(os.path.relpath(os.path.join(top, name), folder))  # noqa: PTH118
            for top, folders, files in os.walk(folder) for name in (*folders, *files)}  # fmt: skip


def _kind(code: int | None, text: str, left: tuple[str, ...]) -> tuple[str, str]:
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "\n".join(lines[-12:])
    if code is None:
        return "hang", tail
    if "Traceback (most recent call last)" in text or "Error in atexit" in text:
        return "traceback", tail
    if code < 0:
        return "killed", f"{signal.Signals(-code).name}: {tail}"
    if code == 0:
        return "done", lines[-1] if lines else ""
    lines = [line for line in lines if line != HINT]
    if code != 1 or not lines or not lines[-1].startswith("error: "):
        return "untold", f"{code}: {tail}"
    return ("stopped" if left else "refused"), lines[-1]


def fresh(folder: Path) -> Path:
    """Make a folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def table(outcomes: Iterable[tuple[str, Ended]], wrong: Mapping[str, str]) -> str:
    """Counts of outcomes, and each one that is not well, for people."""
    outcomes = list(outcomes)
    counts = Counter(ended.kind for _, ended in outcomes)
    lines = [f"{kind}: {number}" for kind, number in sorted(counts.items())]
    return "\n".join([*lines, f"not well: {len(wrong)}", *(f"--- {what}\n{why}" for what, why in wrong.items())])
