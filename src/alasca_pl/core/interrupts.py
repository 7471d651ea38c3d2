"""Ctrl-C, SIGTERM and SIGHUP, by one rule: what is being written is finished, nothing else is."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# So many signals end the process at once, should it hang while it ends.
_IMPATIENT = 3


class Interrupted(BaseException):
    """The process was told to stop.

    No ``Exception``, so that nothing takes it for a mistake; no ``KeyboardInterrupt`` either, for which Lightning has rules of
    its own.

    Attributes:
        signal: Number of the signal.
        advice: How to go on.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"told to stop by {signal.Signals(number).name}")
        self.signal = number
        self.advice = ""

    @property
    def status(self) -> int:
        """The exit status that shells give such a command."""
        return 128 + self.signal


class _State:
    """What this process has been told."""

    def __init__(self) -> None:
        self.owner: int | None = None
        self.received: int | None = None
        self.count = 0
        self.raised = False
        self.postponed = 0


_state = _State()


def install() -> None:
    """Take signals from now on. Those that the parent process has switched off, as ``nohup`` does, stay so.

    A rank that Lightning started leaves Ctrl-C, which reaches all processes of a terminal, to the first one.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _state.__init__()  # type: ignore[misc]
    _state.owner = os.getpid()
    _take_signals()


def reinstall() -> None:
    """Take signals again, if ``install`` was called: libraries put handlers of their own in place."""
    if _state.owner == os.getpid() and threading.current_thread() is threading.main_thread():
        _take_signals()


def uninstall() -> None:
    """Give signals back to Python."""
    if _state.owner != os.getpid() or threading.current_thread() is not threading.main_thread():
        return
    _state.__init__()  # type: ignore[misc]
    for number in _SIGNALS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def taken() -> Iterator[None]:
    """Take signals within a block only, for a call within somebody else's program: its handlers are in place again afterwards."""
    before, known = {number: signal.getsignal(number) for number in _SIGNALS}, vars(_state).copy()
    install()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            vars(_state).update(known)
            for number, handler in before.items():
                # None: set by something other than Python, which has no way to put it back.
                if handler is not None:
                    signal.signal(number, handler)


def check() -> None:
    """Raise ``Interrupted`` if a signal came and its exception was lost, as those raised within a destructor are."""
    if _state.received is not None and not _state.postponed and _state.owner == os.getpid():
        _raise()


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Let a block end before a signal that comes meanwhile is heeded."""
    _state.postponed += 1
    try:
        yield
    finally:
        _state.postponed -= 1
    if _state.received is not None and not _state.raised and not _state.postponed and _in_charge():
        _raise()


def _in_charge() -> bool:
    return _state.owner == os.getpid() and threading.current_thread() is threading.main_thread()


def _take_signals() -> None:
    is_second = os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        if is_second and "SLURM_PROCID" not in os.environ:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        else:
            signal.signal(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.owner != os.getpid():
        # A process forked from this one, e.g. one that loads images. It ends with its parent.
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _state.count += 1
    if _state.count >= _IMPATIENT:
        os._exit(128 + number)
    if _state.received is None:
        _state.received = number
        if not _state.postponed:
            _raise()


def _raise() -> None:
    assert _state.received is not None
    _state.raised = True
    raise Interrupted(_state.received)
