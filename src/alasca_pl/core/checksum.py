"""Checksums within files, so that damage is noticed where a file is read.

Archives (checkpoints and array files) carry theirs in the comment that the zip format has at its end; any program opens them as
before. JSON files carry theirs as an entry. Files of earlier versions have none.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

ENTRY = "checksum"
_START, _END, _END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22
_MARK = b"alasca_pl sha256 "
_COMMENT_SIZE = len(_MARK) + 64
_BLOCK = 2**22


class DamagedError(ValueError):
    """A file is not what was written."""


def seal(file: BinaryIO) -> None:
    """Write the checksum of an archive into its comment.

    Args:
        file: A whole zip archive without a comment, open for reading and writing.

    Raises:
        ValueError: If it is none.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_SIZE))
    tail = file.read()
    if tail[: len(_END)] != _END or tail[-2:] != b"\0\0":
        raise ValueError("only a zip archive without a comment can carry a checksum")
    digest = _digest(file, size)
    file.seek(size - 2)
    file.write(struct.pack("<H", _COMMENT_SIZE) + _MARK + digest.encode())


def check(path: Path) -> bool:
    """Check an archive's checksum.

    Args:
        path: The file.

    Returns:
        True if the file is as it was written; False if it carries no checksum.

    Raises:
        DamagedError: If it is not as it was written.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_START)) != _START:
            # No archive, or one that nobody can open.
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_SIZE))
        tail = file.read()
        if tail[: len(_END)] == _END and tail[-2:] == b"\0\0":
            return False
        end = size - _COMMENT_SIZE
        file.seek(max(0, end - 2))
        length, comment = file.read(2), file.read()
        expected = struct.pack("<H", _COMMENT_SIZE), _MARK + _digest(file, end).encode() if end > 2 else b""
    if (length, comment) != expected:
        raise DamagedError("its content does not have the checksum that it was written with")
    return True


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a JSON file with its checksum.

    Example:
        >>> unsealed(sealed({"a": 1}))
        {'a': 1}
    """
    plain = {name: value for name, value in content.items() if name != ENTRY}
    return {**plain, ENTRY: _digest_of_json(plain)}


def unsealed(content: Any) -> Any:
    """Return the content of a JSON file without its checksum, if it has one.

    Raises:
        DamagedError: If the checksum is that of another content.
    """
    if not isinstance(content, Mapping) or ENTRY not in content:
        return content
    plain = {name: value for name, value in content.items() if name != ENTRY}
    if content[ENTRY] != _digest_of_json(plain):
        raise DamagedError("its content does not have the checksum that it was written with")
    return plain


def _digest(file: BinaryIO, size: int) -> str:
    """Digest of an archive's first bytes, as they were before it had a comment of that length."""
    found = hashlib.sha256()
    file.seek(0)
    left = size - 2
    while left > 0:
        block = file.read(min(_BLOCK, left))
        if not block:
            break
        found.update(block)
        left -= len(block)
    found.update(b"\0\0")
    return found.hexdigest()


def _digest_of_json(content: Mapping[str, Any]) -> str:
    # As it will be read: keys become text.
    plain = json.loads(json.dumps(content))
    return "sha256 " + hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
