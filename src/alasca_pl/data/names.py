"""Names of files: which are safe to open, and how some of many are listed."""

from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

_NAMED = 5


def unsafe(name: str) -> str | None:
    """Return why a path relative to a folder is not safe to open, or None if it is safe.

    Only the text is checked: the caller must resolve links on the path.
    """
    if not name or "\0" in name:
        return "is empty" if not name else "holds a zero byte"
    if name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "is absolute"
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        return "leads out of its folder"
    return None


def name_some(names: Sequence[str]) -> str:
    """Join the first few of many names for a message."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
