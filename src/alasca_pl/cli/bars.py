"""Bars of commands for work that takes long, see ``core.progress``."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error that goes when the block ends."""
    # Imported late, because most work is short.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # No thread that refreshes, because processes are forked meanwhile; streams stay what they are, and the cursor is left
    # visible, because a caller that is interrupted may end this late.
    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = display.add_task(what, total=total)

    def advance(done: int) -> None:
        display.update(task, completed=done)
        display.refresh()

    with display:
        display.console.show_cursor(True)
        yield advance
