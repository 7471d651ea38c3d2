"""The one place where text leaves for a terminal or a log: names from files bring no control characters along.

A class, a file or a folder may be named by a stranger. Raw, such a name could move the cursor, hide what stands before it, or
add a line that looks like the command's own.
"""

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

# Control characters of ASCII and Latin 1, marks that change the direction of writing, other ends of lines, and what stands for
# bytes that are no text.
_RAW = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_RAW_IN_LINES = re.compile(_RAW.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def printable(text: object, lines: bool = False) -> str:
    r"""Replace characters that are none to look at by their escapes.

    Args:
        text: A text, or what ``str`` makes one of.
        lines: Keep ends of lines and tabs.

    Example:
        >>> print(printable("cat\x1b[2J\n"))
        cat\x1b[2J\n
    """
    pattern = _RAW_IN_LINES if lines else _RAW
    return pattern.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def say(*lines: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print lines, each of which stays one line.

    Args:
        lines: One line each.
        file: Standard output by default.
        flush: Let them appear at once.
    """
    print(*map(printable, lines), sep="\n", file=file, flush=flush)


def say_text(text: str, file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text of several lines."""
    print(printable(text, lines=True), end=end, file=file)


def give(text: str) -> None:
    """Print what another program may read: as it is, unless it goes to a terminal."""
    if sys.stdout.isatty():
        say_text(text, end="")
        return
    if sys.stdout.errors == "strict" and hasattr(sys.stdout, "reconfigure"):
        # Names of files need not be valid text.
        sys.stdout.reconfigure(errors="surrogateescape")
    print(text, end="")


class PrintableRecord(logging.LogRecord):
    """A line of the log whose values bring no control characters and no ends of lines."""

    def getMessage(self) -> str:  # noqa: N802
        """Return the message."""
        values = self.args
        if isinstance(values, tuple):
            values = tuple(map(_clean, values))
        message = str(self.msg) % values if values else str(self.msg)
        return printable(message, lines=True)


def _clean(value: Any) -> Any:
    return printable(value) if isinstance(value, str | Path | BaseException) else value


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of equal width.

    Example:
        >>> aligned([["a", "b"], ["ccc", "d"]])
        ['a    b', 'ccc  d']
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
