"""Names of files and classes: which are safe to open, which look the same, and how some of many are listed."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
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


def lookalikes(names: Iterable[str], any_case: bool = False) -> tuple[str, str] | None:
    r"""Two different names that look the same, or None: blanks and the way in which accents are stored cannot be seen.

    Args:
        names: The names.
        any_case: Whether names that differ in capital letters only look the same.

    Example:
        >>> [ascii(name) for name in lookalikes(["caf\u00e9", "tea", "cafe\u0301"])]
        ["'caf\\xe9'", "'cafe\\u0301'"]
        >>> lookalikes(["cat", "cat "]), lookalikes(["cat", "Cat"]), lookalikes(["cat", "Cat"], any_case=True)
        (('cat', 'cat '), None, ('cat', 'Cat'))
    """
    seen: dict[str, str] = {}
    for name in names:
        shown = " ".join(_composed(name).split())
        other = seen.setdefault(shown.casefold() if any_case else shown, name)
        if other != name:
            return other, name
    return None


def spelled_on_disk(name: str, root: str, listed: dict[str, dict[str, list[str]]]) -> str | None:
    """The path below a folder that a path means if accents are stored in another way there; some file systems change that.

    Args:
        name: A path relative to ``root`` at which there is nothing.
        root: The folder.
        listed: What was listed before, to be given again with the next name.

    Returns:
        The path, or None if there is not exactly one.
    """
    found = ""
    for part in PurePosixPath(name).parts:
        where = os.path.join(root, found)  # noqa: PTH118
        if not os.path.lexists(os.path.join(where, part)):  # noqa: PTH118
            if part.isascii() or not os.path.isdir(where):  # noqa: PTH112
                return None
            if where not in listed:
                listed[where] = {}
                for entry in os.listdir(where):  # noqa: PTH208
                    listed[where].setdefault(_composed(entry), []).append(entry)
            fitting = listed[where].get(_composed(part), [])
            if len(fitting) != 1:
                return None
            part = fitting[0]
        found = os.path.join(found, part)  # noqa: PTH118
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
