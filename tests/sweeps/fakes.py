"""Sweeps of jobs that take a tenth of a second."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alasca_pl.sweeps.capacity import Capacity
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.plan import place_jobs
from alasca_pl.sweeps.pool import Result, Settings, run_jobs
from alasca_pl.sweeps.view import View, make_view

FAKE = Path(__file__).with_name("fake_job.py")


def fake(seed: int, word: str = "works", **config: Any) -> Job:
    """A job that behaves as a word says; see ``fake_job.py``."""
    choices = {"method": "ce", "alasca": "paper", "noise": "symmetric"}
    return Job(
        {"seed": seed, "word": word, "noise": {"rate": 0.5}, **config}, [f"seed={seed}", f"+word={word}"], choices
    )


def command(job: Job, folder: JobFolder, checkpoint: Path | None) -> list[str]:
    seconds = [str(job.config["seconds"])] if "seconds" in job.config else []
    return [sys.executable, "-I", "-S", str(FAKE), str(folder.path), job.config["word"], *seconds]


def run(sweep: Path, jobs: Sequence[Job], at_once: int = 4, view: View | None = None, **settings: Any) -> list[Result]:
    settings = {"grace": 0.3, **settings}
    placed = place_jobs(sweep, jobs)
    return run_jobs(placed, command, Capacity(at_once), Settings(**settings), view or make_view("none"))


def lines(sweep: Path, name: str) -> Counter[str]:
    """How often each job started (``starts``) or finished (``ends``)."""
    path = sweep / name
    return Counter(path.read_text().split("\n")[:-1]) if path.is_file() else Counter()


def table(sweep: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """What all jobs have found, by digest."""
    content = {}
    for job, folder in place_jobs(sweep, jobs):
        content[job.digest] = (
            json.loads((folder.path / "record.json").read_text()),
            (folder.path / "metrics.csv").read_text(),
        )
    return content


if __name__ == "__main__":
    # fakes.py SWEEP NUMBER SECONDS AT_ONCE: a sweep in a process of its own, to be killed.
    where, number, duration, at_once = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    outcome = run(where, [fake(seed, seconds=duration) for seed in range(number)], at_once, make_view("lines"))
    sys.exit(any(each.outcome != "finished" for each in outcome))
