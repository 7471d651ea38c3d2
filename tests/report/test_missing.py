"""Commands for missing runs, composed as alasca-train does, and real configs in rows and columns."""

import json
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from trees import make_run

from alasca_pl.cli.constants import merged_values
from alasca_pl.core.experiment import identity, job_digest
from alasca_pl.report.grid import Grid, build_grid
from alasca_pl.report.missing import missing_runs
from alasca_pl.report.question import Question
from alasca_pl.report.saved import find_runs
from running import CONF_DIR, compose_config, initialize_config_dir

SCALE = ("scale=small", "data=cifar10", "data.root=files")


def composed(*overrides: str):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        made = compose_config("train", list(overrides))
    return OmegaConf.to_container(made.config, resolve=True), made


def write(top: Path, *overrides: str) -> None:
    """A run whose record is that of a real command."""
    config, made = composed(*SCALE, *overrides)
    rate = config["noise"].get("rate")
    folder = top / ("-".join(overrides).replace("=", "_") or "default")
    make_run(
        folder, kind=str(made.choices["noise"]), rate=rate or 0.4, seed=config["seed"], config=dict(config),
        overrides=[*SCALE, *overrides], choices=made.choices, digest=job_digest(config),
        constants=[entry.name for entry in made.applied], constants_set=list(identity(merged_values(made.applied))),
    )  # fmt: skip


def grid_of(folder: Path, **question) -> Grid:
    return build_grid(find_runs([folder]), Question(**question))


METHODS = ("ce", "gce", "elr", "co_teaching", "fine")


def test_runs_of_the_papers_first_table_belong_together(tmp_path):
    for method in METHODS:
        for alasca in ("none", "paper"):
            write(tmp_path, f"method={method}", f"alasca={alasca}", "setting=symmetric50")
    write(tmp_path, "method=elr", "alasca=none", "setting=asymmetric40", "seed=1")
    write(tmp_path, "method=ce", "alasca=paper", "setting=human")
    for cols in (("noise", "rate"), ("setting",)):
        grid = grid_of(tmp_path, cols=cols)
        assert len(grid.rows) == 2 * len(METHODS) and len(grid.cols) == 3


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (("method", "alasca"), ("noise", "rate")),
        (("method", "alasca"), ("setting",)),
        (("setting",), ("method", "alasca")),
    ],
)
def test_the_commands_give_the_missing_cells(tmp_path, rows, cols):
    for line in (
        "method=ce alasca=none setting=symmetric50", "method=ce alasca=none setting=asymmetric40",
        "method=elr alasca=paper setting=symmetric50", "method=ce alasca=none setting=symmetric50 seed=1",
    ):  # fmt: skip
        write(tmp_path, *line.split())
    missing = missing_runs(grid_of(tmp_path, rows=rows, cols=cols), [])
    wanted = {
        job_digest(composed(*SCALE, *line.split())[0])
        for line in (
            "method=ce alasca=none setting=asymmetric40 seed=1", "method=elr alasca=paper setting=symmetric50 seed=1",
            "method=elr alasca=paper setting=asymmetric40 seed=0", "method=elr alasca=paper setting=asymmetric40 seed=1",
        )
    }  # fmt: skip
    commands = [shlex.split(each.command) for each in missing]
    assert all(words[0] == "alasca-train" for words in commands)
    assert {job_digest(composed(*words[1:])[0]) for words in commands} == wanted and len(missing) == 4


def test_defaults_that_a_line_left_out_are_said(tmp_path):
    write(tmp_path, "noise=symmetric")
    write(tmp_path, "noise=symmetric", "noise.rate=0.8", "seed=1")
    commands = {each.seed: each.command for each in missing_runs(grid_of(tmp_path), [])}
    for seed, rate in ((0, 0.8), (1, 0.5)):
        words = shlex.split(commands[seed])[1:]
        assert {"method=ce", f"noise.rate={rate}"} <= set(words)
        config, made = composed(*words)
        assert (config["seed"], config["noise"]["rate"], made.choices["method"]) == (seed, rate, "ce")


def test_planned_jobs_of_a_sweep_are_missing_with_their_own_line(tmp_path):
    sweep = tmp_path / "sweeps" / "toy"
    made = make_run(sweep / "a")
    line = ["method=ce", "alasca=none", "noise=pairflip", "seed=0"]
    config = {**made.config, "noise": {"rate": 0.45}}
    jobs = {json.dumps(line): {"config": config, "choices": {**made.choices, "noise": "pairflip"}}}
    (sweep / "composed.json").write_text(json.dumps({"key": "k", "jobs": jobs}))
    found = find_runs([sweep])
    (one,) = missing_runs(build_grid(found, Question()), found.planned)
    assert one.command == "alasca-train sweep=toy method=ce alasca=none noise=pairflip seed=0"
    assert one.cell == "ce, none, pairflip, 0.45" and one.seed == 0
    only = Question(where=(("noise", "symmetric"),))
    assert missing_runs(build_grid(found, only), found.planned) == []


def test_commands_for_missing_runs_name_the_folders_of_configs(tmp_path):
    sweep = tmp_path / "toy"
    dirs = ["--config-dir", "/my conf"]
    for seed, method in ((0, "ce"), (1, "ce"), (0, "elr")):
        made = make_run(sweep / f"{method}{seed}", method, seed=seed, config_dirs=dirs)
        (sweep / f"{method}{seed}" / "job.json").write_text("{}")
    jobs = {json.dumps(["seed=2"]): {"config": {**made.config, "seed": 2}, "choices": made.choices}}
    (sweep / "composed.json").write_text(json.dumps({"key": "k", "jobs": jobs}))
    found = find_runs([sweep])
    commands = [each.command for each in missing_runs(build_grid(found, Question()), found.planned)]
    assert len(commands) == 2
    assert all(words.startswith("alasca-train sweep=toy --config-dir '/my conf' ") for words in commands)


def test_a_rule_that_a_run_does_not_have_is_no_missing_run(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", alasca="paper")
    assert missing_runs(grid_of(tmp_path, rows=("alasca", "rule")), []) == []
    make_run(tmp_path / "c", alasca="paper", seed=1)
    (one,) = missing_runs(grid_of(tmp_path, rows=("alasca", "rule")), [])
    assert "alasca=none" in one.command and one.seed == 1
