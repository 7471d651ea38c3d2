"""Progress of work that takes long. Who owns the terminal says how it is drawn; in logs and notebooks nothing is shown."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Bar: TypeAlias = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""From the name of some work and how much there is to do, if known, to a block in which a bar is shown, with the function that
takes how much is done."""

# Seconds: work that takes less shows no bar, and how often one is drawn.
_LONG, _EVERY = 1.0, 0.1
_bars: list[Bar] = []


def on_terminal() -> bool:
    """Whether somebody sees progress: standard error is a terminal, and this is the first process of a run."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("LOCAL_RANK", "0") == "0"


@contextlib.contextmanager
def drawn_by(bar: Bar) -> Iterator[None]:
    """Let a function draw the bars of ``tracked`` within a block; of several, that of the innermost block does."""
    _bars.append(bar)
    try:
        yield
    finally:
        _bars.remove(bar)


def tracked(
    items: Iterable[T], what: str, total: int | None = None, size: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """Yield items, with a bar on a terminal if that takes longer than a second.

    Args:
        items: What is worked on.
        what: Name of the work, e.g. ``decoding images``.
        total: How much there is to do; None for the length of ``items``, if they have one.
        size: How much of it an item is.

    Example:
        >>> [item**2 for item in tracked([1, 2, 3], "squaring")]
        [1, 4, 9]
    """
    if not _bars or not on_terminal():
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    start = drawn = time.monotonic()
    done, advance = 0, None
    with contextlib.ExitStack() as stack:
        for item in items:
            yield item
            done += size(item)
            now = time.monotonic()
            if advance is None and now - start >= _LONG:
                advance = stack.enter_context(_bars[-1](what, total))
            if advance is not None and now - drawn >= _EVERY:
                advance(done)
                drawn = now
