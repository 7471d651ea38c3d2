"""Tables on a terminal."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from alasca_pl.core.terminal import printable


class _PrintableConsole(Console):
    """Writes its own control codes only, none that stand in what it shows."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, lines=True), segment.style)


def show(renderable: Any, width: int | None = None) -> None:
    """Print a table or another object of Rich.

    Args:
        renderable: The object.
        width: Columns of the output where it is no terminal; 80 by default.
    """
    _PrintableConsole(soft_wrap=True, width=None if sys.stdout.isatty() else width).print(renderable)
