"""The log of a run, which begins before it is known whether the run may write."""

import contextlib
import logging
import logging.handlers
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from alasca_pl.core.terminal import say


class _LogFile(logging.FileHandler):
    """A log on a disk that may be full: it says so once, and the run goes on."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not self._has_failed and isinstance(error, OSError):
            self._has_failed = True
            say(f"cannot write {self.baseFilename}: {error.strerror or error}", file=sys.stderr)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class RunLog:
    """Keeps what is logged until the run is accepted, and writes it into the run's folder from then on."""

    def __init__(self) -> None:
        self._kept = logging.handlers.MemoryHandler(100_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self._file: logging.FileHandler | None = None

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._kept)
        return self

    def write_to(self, path: Path, formatter: logging.Formatter | None = None) -> None:
        """Append to a file what was logged so far and what follows, in a form of its own or in that of the terminal."""
        root = logging.getLogger()
        self._file = _LogFile(path, encoding="utf-8")
        shown = [handler.formatter for handler in root.handlers if handler.formatter is not None]
        self._file.setFormatter(formatter or (shown[0] if shown else None))
        self._kept.setTarget(self._file)
        self._kept.flush()
        root.removeHandler(self._kept)
        root.addHandler(self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        root = logging.getLogger()
        root.removeHandler(self._kept)
        self._kept.close()
        if self._file is not None:
            root.removeHandler(self._file)
            self._file.close()
