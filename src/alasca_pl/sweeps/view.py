"""A sweep on a terminal, or as lines in a log."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alasca_pl.core.terminal import printable, say
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

# Rows of failed jobs that stay in sight.
_FAILED_SHOWN = 5
# Rows that the table and its frame take besides, and the width of all columns but the first.
_OTHER_ROWS, _OTHER_COLUMNS = 7, 34


class View(Protocol):
    """What a sweep tells while it runs."""

    def start(self, jobs: Sequence[tuple[Job, JobFolder]], settled: Iterable[Any], places: int) -> None:
        """The sweep begins; some jobs may be settled already."""

    def started(self, job: Job, folder: JobFolder, goes_on: bool) -> None:
        """A job starts, or goes on from its checkpoint."""

    def ended(self, job: Job, folder: JobFolder, outcome: str, reason: str, ran: bool) -> None:
        """A job is settled."""

    def note(self, text: str) -> None:
        """Something else to be known."""

    def show(self, running: Sequence[tuple[Job, JobFolder, float]], waiting: int, elsewhere: int) -> None:
        """Called often."""

    def stop(self) -> None:
        """The sweep ends."""


class Lines:
    """One line per event.

    Args:
        quiet: Whether to say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.total = 0
        self.counts: dict[str, int] = {}
        self.failed: list[tuple[str, str]] = []
        self.places = 1
        self._seconds: list[float] = []
        self._has_begun = False

    def start(self, jobs: Sequence[tuple[Job, JobFolder]], settled: Iterable[Any], places: int) -> None:
        self.total, self.places = len(jobs), places
        done = self.counts.get("finished", 0)
        self._has_begun = True
        if done < self.total:
            at_once = f"{places} at once" if places > 1 else "one at a time"
            self._print(f"{self.total} jobs, {done} of them finished before, {at_once}")

    def started(self, job: Job, folder: JobFolder, goes_on: bool) -> None:
        self._print(f"{'goes on' if goes_on else 'starts'}: {folder.path.name}")

    def ended(self, job: Job, folder: JobFolder, outcome: str, reason: str, ran: bool) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if outcome == "finished":
            seconds = folder.seconds()
            if seconds is not None:
                self._seconds.append(seconds)
        elif outcome not in ("interrupted", "not run"):
            self.failed.append((folder.path.name, f"{outcome}: {reason}" if reason else outcome))
        if self._has_begun and (ran or outcome == "finished"):
            _, accuracy = folder.progress()
            extra = f", val {accuracy:.1%}" if outcome == "finished" and accuracy is not None else ""
            extra += "".join(f", {slot} did not act" for slot in folder.inactive()) if outcome == "finished" else ""
            why = f": {reason}" if reason else ""
            self._print(f"[{sum(self.counts.values())}/{self.total}] {outcome}: {folder.path.name}{extra}{why}")

    def note(self, text: str) -> None:
        self._print(text)

    def show(self, running: Sequence[tuple[Job, JobFolder, float]], waiting: int, elsewhere: int) -> None:
        pass

    def stop(self) -> None:
        pass

    def seconds_left(self, running: Sequence[float], waiting: int) -> float | None:
        """Time left, from the mean time of finished jobs; None before there are any."""
        if not self._seconds:
            return None
        mean = sum(self._seconds) / len(self._seconds)
        return (sum(max(0.0, mean - passed) for passed in running) + mean * waiting) / max(1, self.places)

    def _print(self, text: str) -> None:
        if not self.quiet:
            say(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class LiveTable(Lines):
    """A table that stays in place."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Live | None = None
        self._next = 0.0

    def start(self, jobs: Sequence[tuple[Job, JobFolder]], settled: Iterable[Any], places: int) -> None:
        from rich.console import Console
        from rich.live import Live

        super().start(jobs, settled, places)
        self._live = Live(console=Console(), auto_refresh=False, transient=False)
        self._live.start()

    def started(self, job: Job, folder: JobFolder, goes_on: bool) -> None:
        self._next = 0.0

    def show(self, running: Sequence[tuple[Job, JobFolder, float]], waiting: int, elsewhere: int) -> None:
        if self._live is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            self._live.update(self._table(running, waiting, elsewhere), refresh=True)

    def stop(self) -> None:
        if self._live is not None:
            self._live.update(self._table([], self.total - sum(self.counts.values()), 0), refresh=True)
            self._live.stop()
            self._live = None

    def _table(self, running: Sequence[tuple[Job, JobFolder, float]], waiting: int, elsewhere: int) -> "Group":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        left = self.seconds_left([passed for _, _, passed in running], waiting)
        failed = len(self.failed)
        parts = [
            f"{self.counts.get('finished', 0)} of {self.total} finished",
            f"{len(running)} running",
            f"{waiting} waiting",
        ]
        parts += [f"{elsewhere} elsewhere"] if elsewhere else []
        parts += [f"{failed} failed"] if failed else []
        parts += [] if left is None or not running else [f"about {duration(left)} left"]
        table = Table()
        for name in ("job", "epoch", "val", "time"):
            table.add_column(name, justify="left" if name == "job" else "right", no_wrap=name != "job")
        assert self._live is not None
        width = self._live.console.width - _OTHER_COLUMNS
        # On many cores there may be more jobs than lines.
        room = max(1, self._live.console.height - _OTHER_ROWS - min(failed, _FAILED_SHOWN))
        for job, folder, seconds in running[:room]:
            epochs, accuracy = folder.progress()
            shown = "" if accuracy is None else f"{accuracy:.1%}"
            table.add_row(_end_of(folder.path.name, width), f"{epochs}/{job.epochs or '?'}", shown, duration(seconds))
        for name, reason in self.failed[-_FAILED_SHOWN:]:
            table.add_row(_end_of(name, width), "", "", reason.split(":")[0], style="red")
        more = [Text(f"and {len(running) - room} more")] if len(running) > room else []
        return Group(Text(", ".join(parts), style="italic"), table, *more)

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def _end_of(name: str, width: int) -> str:
    """A folder's name without its digest if it is too long, and cut at its beginning: its end, with the seed, tells more."""
    if len(name) <= width:
        return name
    readable = name[:-13]
    return readable if len(readable) <= width else f"…{readable[1 - max(width, 2) :]}"


def make_view(kind: str = "auto") -> View:
    """A table on a terminal, lines elsewhere. ``kind`` is ``auto``, ``table``, ``lines`` or ``none``."""
    if kind == "table" or (kind == "auto" and sys.stdout.isatty()):
        return LiveTable()
    return Lines(quiet=kind == "none")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def times(count: int) -> str:
    """How often, in words.

    Example:
        >>> times(1), times(3)
        ('once', '3 times')
    """
    return "once" if count == 1 else f"{count} times"
