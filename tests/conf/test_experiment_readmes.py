"""Commands in ``experiments/*/README.md``: typed as they stand there, in runs of seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from typed import SECONDS, SWEEPS, blocks, lines, narrowed, run, write_cifar

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
READMES = sorted(path.parent.name for path in EXPERIMENTS.glob("*/README.md"))


def typed(name: str, from_records: bool) -> list[list[str]]:
    """Commands of a README, in its blocks of code that read committed records or in the others."""
    text = (EXPERIMENTS / name / "README.md").read_text()
    chosen = [block.text for block in blocks(text) if ("experiments/" in block.text) == from_records]
    return [line for line in lines("\n".join(chosen)) if line[0].startswith("alasca-")]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_cifar(tmp_path_factory.mktemp("data"))


RECORDED = [name for name in READMES if list((EXPERIMENTS / name).glob("*.json"))]


def test_there_are_commands_to_make_the_runs_and_to_read_the_records():
    assert all(typed(name, from_records=False) for name in READMES)
    assert all(typed(name, from_records=True) for name in RECORDED)


BENCH = ("rounds=1", "steps=1", "workers=0", "trainer=cpu", "trainer.precision=32-true", "data.reader.num_train=400")
# What a README's commands need to run here in seconds.
SPECIAL = {"cifar10n_small": ["noise.check_md5=false"], "gpu_cells": ["model=small", "model.compile=false"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_its_runs_can_be_made_again(name, data, tmp_path):
    for line in typed(name, from_records=False):
        if line[0] == "alasca-train":
            files = [] if name == "digits" else [f"data.root={data}"]
            run(tmp_path, line, *SECONDS, *SWEEPS, *files, *SPECIAL.get(name, []), *narrowed(line))
        elif line[0] == "alasca-bench":
            run(tmp_path, line, *BENCH, *SPECIAL[name])
        else:
            run(tmp_path, line)
    check_reports(tmp_path)


@pytest.mark.slow
def test_the_script_for_a_gpu_ends_in_time_and_goes_on(data, tmp_path):
    def typed_script(minutes: float, *options: str) -> subprocess.CompletedProcess[str]:
        words = [
            str(EXPERIMENTS / "gpu_cells" / "run.sh"),
            *SECONDS,
            *SWEEPS,
            f"data.root={data}",
            *SPECIAL["gpu_cells"],
        ]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = {**os.environ, "MINUTES": str(minutes), "PATH": path}
        return subprocess.run(
            [*words, *options], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300
        )

    for said in ("starts:", "goes on:"):
        stopped = typed_script(0.5, "epochs=3000")
        assert stopped.returncode == 0, stopped.stderr
        assert "the 0.5 minutes are over; the same line goes on" in stopped.stdout
        assert said in stopped.stdout and "2 jobs: 2 half-done" in stopped.stdout
    ended = typed_script(5)
    assert ended.returncode == 0, ended.stderr
    assert "| ce | paper |" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_its_report_follows_from_its_records(name, tmp_path):
    shutil.copytree(EXPERIMENTS / name, tmp_path / "experiments" / name)
    for line in typed(name, from_records=True):
        run(tmp_path, line)
    assert check_reports(tmp_path)


def check_reports(folder: Path) -> int:
    """Verify all reports in a folder, and return their number."""
    reports = list(folder.glob("report*"))
    for report in reports:
        run(folder, ["alasca-report", "--verify", report.name])
    return len(reports)
