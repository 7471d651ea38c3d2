"""Atomic writing of files."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from alasca_pl.core.checksum import seal
from alasca_pl.core.errors import UserError
from alasca_pl.core.interrupts import postponed


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a temporary file and rename it, so that a killed process leaves the old file or the new one.

    Args:
        path: The file to write; its folder is created if needed.
        write: Called with the open binary file.

    Raises:
        UserError: If the disk does not take it; the message names the folder and the cause.
    """
    with postponed():
        _write(path, write)


class _Raw(io.FileIO):
    """A file that remembers why it could not be written; libraries raise errors of their own instead."""

    problem: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.problem = error
            raise


def _refused(path: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"cannot write {path.name} in {path.parent}: {reason}; what was written there before is as it was")


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    raw: _Raw | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = _Raw(temporary, "w+b")
        with io.BufferedRandom(raw) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        problem = raw.problem if raw is not None and raw.problem is not None else error
        if isinstance(problem, OSError):
            raise _refused(path, problem) from error
        raise
    finally:
        # A disk that vanished does not even take this.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if os.name != "posix":
        return
    # The rename must reach the disk as well.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_new(file: Path) -> None:
    """Raise ``UserError`` if a file to be written exists: nothing is overwritten."""
    if file.exists():
        raise UserError(f"{file} exists already; choose another output")


def check_empty(folder: Path) -> None:
    """Raise ``UserError`` if there is something in a folder to be written to: nothing is overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; choose another one with output=DIR")


def append(path: Path, content: bytes) -> None:
    """Append to an existing file; if the disk does not take all of it, the file is as before.

    Raises:
        UserError: If the disk does not take it; the message names the folder and the cause.
    """
    with postponed():
        try:
            # Without a buffer, so that nothing is written later.
            with path.open("r+b", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    written = 0
                    while written < len(content):
                        written += file.write(content[written:])
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
        except OSError as error:
            raise _refused(path, error) from error


def write_archive(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a zip archive with its checksum, atomically; see ``core.checksum``.

    Args:
        path: The file to write.
        write: Called with the open binary file, to which it writes the archive.
    """

    def with_checksum(file: BinaryIO) -> None:
        write(file)
        seal(file)

    write_atomically(path, with_checksum)


def parse_json(text: str | bytes) -> Any:
    """Read JSON from outside.

    Raises:
        ValueError: If it is none, or is nested deeper than Python can follow.

    Example:
        >>> parse_json("[1, 2]")
        [1, 2]
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, atomically."""
    text = json.dumps(content, indent=2, sort_keys=False, allow_nan=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
