"""Commands in ``experiments/*/README.md``: typed as they stand there, in runs of seconds."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from alasca_pl.cli import CONF_DIR
from running import command

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# The one with scripts of its own is left out.
READMES = sorted({path.parent.name for path in EXPERIMENTS.glob("*/README.md")} - {"methods_small"})
# What makes a job one of seconds; the experiment's own values stay otherwise.
SECONDS = (
    "epochs=1", "data.max_train_samples=160", "data.num_val=20", "data.max_test_samples=40", "model.backbone.width=4",
    "callbacks=quiet", "trainer=cpu", "trainer.precision=32-true", "report.last_epochs=1",
)  # fmt: skip
SWEEPS = ("hydra.launcher.jobs=2", "hydra.launcher.view=lines")
# Of a sweep's values the first one, but of these the first and the last.
_COMPARED = ("component", "alasca")


def typed(name: str, from_records: bool) -> list[list[str]]:
    """Commands of a README, in its blocks of code that read committed records or in the others."""
    text = (EXPERIMENTS / name / "README.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    chosen = [block for block in blocks if ("experiments/" in block) == from_records]
    lines = "\n".join(chosen).replace("\\\n", " ").splitlines()
    words = [[word for word in shlex.split(line, comments=True) if "OMP_NUM_THREADS" not in word] for line in lines]
    return [line for line in words if line and line[0].startswith("alasca-")]


def narrowed(line: list[str]) -> list[str]:
    """Options that leave a few jobs of a sweep."""
    given = dict(word.split("=", 1) for word in line if "=" in word)
    params = {}
    if "experiment" in given:
        config = yaml.safe_load((CONF_DIR / "experiment" / f"{given['experiment']}.yaml").read_text())
        sweeper = config.get("hydra", {}).get("sweeper", {})
        params = {**(sweeper.get("params") or {}), **(sweeper.get("grids") or [{}])[0]}
    found = []
    for name, values in {**params, **{key: value for key, value in given.items() if "," in value}}.items():
        each = str(given.get(name, values)).split(",")
        few = [each[0], each[-1]] if name in _COMPARED and len(each) > 1 else each[:1]
        found.append(f"{name}={','.join(few)}")
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Files of the form of CIFAR-10 and CIFAR-10N with random pixels."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    labels = {part: np.arange(size) % 10 for part, size in (("train", 400), ("test", 100))}
    images = {part: rng.integers(0, 256, (len(label), 32, 32, 3)).astype(np.uint8) for part, label in labels.items()}
    np.savez(
        folder / "cifar10.npz",
        **{f"{part}_images": images[part] for part in images},
        **{f"{part}_labels": labels[part] for part in labels},
    )
    names = ("clean_label", "aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
    human = {name: labels["train"] if name == "clean_label" else rng.permutation(labels["train"]) for name in names}
    torch.save(human, folder / "CIFAR-10_human.pt")
    return folder


def run(folder: Path, line: list[str], *options: str) -> None:
    outcome = command(folder, *line[1:], *options, entry=line[0].removeprefix("alasca-"))
    assert outcome.code == 0, f"{shlex.join(line)} {shlex.join(options)}\n{outcome.out}\n{outcome.err}"


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
