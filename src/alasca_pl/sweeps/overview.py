"""What a sweep's folders say, as text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from alasca_pl.core.overrides import option_name
from alasca_pl.core.record import listed_by_reason
from alasca_pl.core.terminal import aligned
from alasca_pl.sweeps.folders import JobFolder, job_folders, planned_folders
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.plan import differences
from alasca_pl.sweeps.view import duration, times


def status(sweep: Path, limit: int | None = 3) -> str:
    """One line per job, and how many there are of each kind."""
    rows, states = [], []
    folders = list(planned_folders(sweep))
    for folder in folders:
        state = folder.status(limit)
        states.append(state)
        epochs, accuracy = folder.progress()
        seconds = folder.seconds()
        shown = [f"{epochs} epochs"] if epochs else []
        shown += [] if accuracy is None else [f"val {accuracy:.1%}"]
        shown += [] if seconds is None else [duration(seconds)]
        shown += [f"{slot} did not act" for slot in folder.inactive()]
        shown += ["interrupted before its first checkpoint"] if state == "waiting" and folder.attempts() else []
        rows.append([state, folder.path.name, ", ".join(shown)])
    lines = aligned(rows) + [counts(states) if rows else f"{sweep} has no jobs yet"]
    return "\n".join(lines + inactive(folders) + ([_lines_text(sweep)] if rows else []))


def counts(states: Sequence[str]) -> str:
    """How many jobs there are, and how many of each kind.

    Example:
        >>> counts(["waiting", "finished", "finished"])
        '3 jobs: 2 finished, 1 waiting'
    """
    of_each = ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())
    return f"{len(states)} jobs: {of_each}"


def inactive(folders: Iterable[JobFolder]) -> list[str]:
    """Lines that name the finished jobs in which a part did not act, by the reason."""
    found = listed_by_reason((folder.path.name, folder.inactive()) for folder in folders if folder.is_finished())
    return [line for remark, names in found.items() for line in (f"{remark}, in", *(f"  {name}" for name in names))]


def failures(sweep: Path, count: int = 8) -> str:
    """Reason, command and last lines of the log of each job that failed and has not finished since."""
    found = []
    for folder in job_folders(sweep):
        if folder.is_finished() or not folder.failures():
            continue
        last = next(each for each in reversed(folder.attempts()) if each.get("reason"))
        at_last = "" if last["outcome"] == "failed" else f", at last {last['outcome']}"
        lines = [
            f"{folder.path.name}: failed {times(folder.failures())}{at_last}",
            f"  {last['reason']}",
            f"  {folder.log}",
        ]
        found.append("\n".join(lines + [f"  | {line}" for line in folder.last_lines(count)]))
    return "\n\n".join(found) if found else "no failed jobs"


def dry_run(placed: Sequence[tuple[Job, JobFolder]], limit: int | None) -> str:
    """What a line would do: digest, status and what is particular of each job, and how long it would take."""
    different = differences([job for job, _ in placed])
    known = [seconds for _, folder in placed if (seconds := folder.seconds()) is not None]
    if not known and placed:
        known = [seconds for each in job_folders(placed[0][1].path.parent) if (seconds := each.seconds()) is not None]
    mean = sum(known) / len(known) if known else None
    rows, left = [], 0
    for job, folder in placed:
        state = folder.status(limit)
        seconds = folder.seconds()
        if state != "finished":
            left += state != "given up"
            seconds = mean
        values = " ".join(_short(item) for item in different[job.digest])
        expected = "" if seconds is None else f"{'' if state == 'finished' else 'about '}{duration(seconds)}"
        rows.append([job.digest, state, expected, values])
    total = "unknown" if mean is None else f"about {duration(mean * left)} one after the other"
    return "\n".join([*aligned(rows), f"{len(rows)} jobs, {left} to run; time: {total if left else 'none'}"])


def unequal_epochs(jobs: Sequence[Job]) -> list[str]:
    """A line on jobs whose numbers of epochs differ although no option of the sweep says so, which a report refuses."""
    named = {option_name(item) for items in differences(jobs).values() for item in items}
    lengths: dict[int, dict[str, None]] = {}
    for job in jobs:
        if job.epochs is not None:
            lengths.setdefault(job.epochs, {})[f"method={job.choices.get('method')}"] = None
    if len(lengths) < 2 or named & {"epochs", "trainer.max_epochs"}:
        return []
    listing = ", ".join(f"{epochs} ({', '.join(names)})" for epochs, names in sorted(lengths.items()))
    return [
        f"these jobs differ in epochs: {listing}, as their methods were published. alasca-report does not compare runs of "
        f"different lengths; epochs={max(lengths)} (or another number) makes them equal"
    ]


def _short(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _lines_text(sweep: Path) -> str:
    file = sweep / "lines.txt"
    if not file.is_file():
        return "made elsewhere"
    return "\n".join(["made by", *(f"  {line}" for line in file.read_text().splitlines())])
