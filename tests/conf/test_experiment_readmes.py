"""Commands in ``experiments/*/README.md``: typed as they stand there, in runs of seconds."""

import shutil
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


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_its_runs_can_be_made_again(name, data, tmp_path):
    for line in typed(name, from_records=False):
        if line[0] == "alasca-train":
            files = [] if name == "digits" else [f"data.root={data}"]
            files += ["noise.check_md5=false"] if name == "cifar10n_small" else []
            run(tmp_path, line, *SECONDS, *SWEEPS, *files, *narrowed(line))
        else:
            run(tmp_path, line)
    check_reports(tmp_path)


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
