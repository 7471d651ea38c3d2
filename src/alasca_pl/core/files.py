"""Atomic writing of files."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from alasca_pl.core.checksum import seal
from alasca_pl.core.interrupts import postponed


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a temporary file and rename it, so that a killed process leaves the old file or the new one.

    Args:
        path: The file to write; its folder is created if needed.
        write: Called with the open binary file.
    """
    with postponed():
        _write(path, write)


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name != "posix":
        return
    # The rename must reach the disk as well.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, atomically."""
    text = json.dumps(content, indent=2, sort_keys=False, allow_nan=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
