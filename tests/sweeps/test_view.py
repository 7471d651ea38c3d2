"""What a sweep shows on a terminal."""

import io
from types import SimpleNamespace

import pytest
from fakes import fake
from rich.console import Console

from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.view import LiveTable


def shown(tmp_path, width, height=20, running=63):
    """Lines of the table of a sweep with that many running jobs."""
    console = Console(file=io.StringIO(), width=width, height=height)
    table = LiveTable()
    table.start([], [], 1)
    assert table._live is not None
    table._live.stop()
    table._live = SimpleNamespace(console=console)  # type: ignore[assignment]
    job = fake(1, "raises")
    table.ended(job, JobFolder(tmp_path / job.folder_name), "failed", "ValueError: NaN", ran=True)
    jobs = [(job, JobFolder(tmp_path / job.folder_name), 70.0) for job in (fake(seed + 10) for seed in range(running))]
    console.file = io.StringIO()
    console.print(table._table(jobs, 5, 0))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [120, 80, 60, 45])
def test_the_table_fits_the_terminal_and_tells_jobs_apart(tmp_path, width, capsys):
    lines = shown(tmp_path, width)
    assert len(lines) <= 20 and max(map(len, lines)) <= width
    assert "63 running" in lines[0] and "1 failed" in " ".join(" ".join(lines[:2]).split())
    rows = [line for line in lines if "0:01:10" in line]
    assert all(f"seed{seed}" in row for seed, row in enumerate(rows, start=10)) and len(rows) > 5
    assert lines[-1] == f"and {63 - len(rows)} more"
    assert "failed" in lines[-3]


def test_few_jobs_are_all_shown_by_their_folders(tmp_path, capsys):
    lines = shown(tmp_path, 120, running=3)
    assert all(any(fake(seed + 10).folder_name in line for line in lines) for seed in range(3))
    assert not lines[-1].startswith("and")
