"""Sweeps through Hydra: lines that users type."""

import itertools
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import FAKE, lines
from hydra.core.override_parser.overrides_parser import OverridesParser

from alasca_pl.cli.arguments import quote_paths
from alasca_pl.cli.sweep_arguments import sweep_arguments
from alasca_pl.core.errors import UserError
from alasca_pl.sweeps import pool
from hydra_plugins.alasca_launcher import portable_override
from running import Outcome, command, timed

pytestmark = timed

QUICK = ("trainer=smoke", "callbacks=quiet", "hydra.launcher.view=lines")


@pytest.fixture
def fast_jobs(monkeypatch) -> list[list[str]]:
    """Let jobs be fakes; what their commands would have been is kept. A job with the seed 7 fails."""
    commands: list[list[str]] = []
    real = pool.run_jobs

    def run_fakes(jobs: Any, command_for: Any, *rest: Any) -> Any:
        def fake_command(job: Any, folder: Any, checkpoint: Path | None) -> list[str]:
            commands.append(command_for(job, folder, checkpoint))
            word = "raises" if job.config["seed"] == 7 else "works"
            return [sys.executable, "-I", "-S", str(FAKE), str(folder.path), word]

        return real(jobs, fake_command, *rest)

    monkeypatch.setattr(pool, "run_jobs", run_fakes)
    return commands


def test_the_same_line_again_runs_nothing_and_a_wider_one_the_rest(tmp_path, fast_jobs):
    first = command(tmp_path, "-m", "sweep=a", "seed=0,1", "method=ce,elr", "hydra.launcher.view=lines")
    assert first.code == 0, first
    assert "4 of 4 jobs are finished, 4 of them now" in first.out
    names = sorted(path.name[:-13] for path in (tmp_path / "sweeps" / "a").iterdir() if path.is_dir())
    assert names == [f"{method}_digits_symmetric0.8_seed{seed}" for method in ("ce", "elr") for seed in (0, 1)]
    # Another order, and a default spelled out.
    again = command(tmp_path, "-m", "method=elr,ce", "noise.rate=0.8", "seed=1,0", "sweep=a")
    assert again.code == 0, again
    assert "0 of them now" in again.out
    wider = command(tmp_path, "-m", "sweep=a", "seed=0,1,2", "method=ce")
    assert wider.code == 0, wider
    assert "3 of 3 jobs are finished, 1 of them now" in wider.out
    assert len(fast_jobs) == 5
    assert set(lines(tmp_path / "sweeps" / "a", "starts").values()) == {1}
    text = (tmp_path / "sweeps" / "a" / "lines.txt").read_text().splitlines()
    assert len(text) == 3 and text[0].startswith("alasca-train -m sweep=a seed=0,1")


def test_failed_jobs_are_named_with_how_to_go_on(tmp_path, fast_jobs):
    outcome = command(tmp_path, "-m", "sweep=a", "seed=0,7", "hydra.launcher.view=none")
    assert outcome.code == 1
    assert "1 of 2 jobs have not finished" in outcome.err
    assert "seed7" in outcome.err and "loss is NaN in epoch 1" in outcome.err
    assert "alasca-sweep failures sweeps/a" in outcome.err
    assert "Traceback" not in outcome.err
    assert command(tmp_path, "status", "a", entry="sweep").out.count("finished") >= 1
    assert "NaN" in command(tmp_path, "failures", "a", entry="sweep").out


def test_commands_for_a_sweep_in_a_folder_with_a_blank_are_accepted(tmp_path, fast_jobs):
    outcome = command(tmp_path, "-m", "hydra.sweep.dir=my sweeps/a", "seed=7")
    words = shlex.split(outcome.err.partition("\nalasca-sweep ")[2].partition(" shows more")[0])
    assert words == ["failures", "my sweeps/a"]
    assert "NaN" in command(tmp_path, *words, entry="sweep").out


def test_wrong_jobs_are_all_named_before_anything_starts(tmp_path, fast_jobs):
    outcome = command(tmp_path, "-m", "sweep=a", "method=ce,elrr", "seed=0,1")
    assert outcome.code == 1
    assert "2 of 4 jobs are wrong, so none was started" in outcome.err
    assert outcome.err.count("elrr") >= 2
    assert not fast_jobs
    assert list(tmp_path.iterdir()) == []
    missing = command(tmp_path, "-m", "sweep=a", "data=npz")
    assert missing.code == 1 and "data.path" in missing.err


def test_options_that_only_the_swept_methods_have(tmp_path, fast_jobs):
    line = ["sweep=a", "method=forward,backward", "criterion.matrix=oracle"]
    assert command(tmp_path, *line).code == 0
    assert all("criterion.matrix=oracle" in words for words in fast_jobs) and len(fast_jobs) == 2
    (typed,) = (tmp_path / "sweeps" / "a" / "lines.txt").read_text().splitlines()
    assert typed == f"alasca-train -m {' '.join(line)}"
    wrong = command(tmp_path, "sweep=b", "method=forward,gce", "criterion.matrix=oracle")
    assert wrong.code == 1 and "1 of 2 jobs are wrong" in wrong.err
    assert "method=gce criterion.matrix=oracle: there is no option criterion.matrix" in wrong.err


def test_a_dry_run_starts_and_leaves_nothing(tmp_path, fast_jobs):
    outcome = command(tmp_path, "--dry-run", "sweep=a", "seed=0,1")
    assert outcome.code == 0, outcome
    assert "2 jobs, 2 to run" in outcome.out
    assert not fast_jobs and list(tmp_path.iterdir()) == []
    command(tmp_path, "-m", "sweep=a", "seed=0")
    outcome = command(tmp_path, "--dry-run", "sweep=a", "seed=0,1")
    assert "2 jobs, 1 to run" in outcome.out


def test_jobs_of_different_lengths_are_named_before_they_are_trained(tmp_path, fast_jobs):
    line = ("sweep=a", "data=cifar10", "method=ce,dividemix", "alasca=none,paper", "data.root=.", "data.download=false")
    said = "these jobs differ in epochs: 120 (method=ce), 300 (method=dividemix)"
    planned = command(tmp_path, "--dry-run", *line)
    assert said in planned.out and "epochs=300 (or another number) makes them equal" in planned.out
    assert "differ in epochs" not in command(tmp_path, "--dry-run", *line, "epochs=10").out
    # Lengths that the line asks for are no surprise.
    assert "differ in epochs" not in command(tmp_path, "--dry-run", "sweep=a", "epochs=1,2").out
    started = command(tmp_path, "-m", *line, "hydra.launcher.view=lines")
    assert started.code == 0 and 0 <= started.out.index(said) < started.out.index("starts: ")
    assert said not in command(tmp_path, "-m", *line, "hydra.launcher.view=lines").out


@pytest.fixture
def pretended(monkeypatch) -> list[tuple[str, dict[str, str]]]:
    """Let each job in turn end as a pair says: its outcome, and what did not act. Interruption ends the sweep."""
    endings: list[tuple[str, dict[str, str]]] = []

    def run_jobs(jobs: Any, command_for: Any, *rest: Any) -> Any:
        results = []
        for (job, folder), (outcome, silent) in zip(jobs, endings, strict=True):
            results.append(pool.Result(job, folder, outcome, ran=outcome != "not run"))
            if outcome != "not run":
                folder.path.mkdir()
                folder.begin(job, [])
                folder.end(outcome, "", 1.0)
            if outcome == "finished":
                folder.run.record.write_text(json.dumps({"status": "finished", "inactive": silent}))
        if any(outcome == "interrupted" for outcome, _ in endings):
            raise pool.Interrupted(results, signal.SIGTERM)
        return results

    monkeypatch.setattr(pool, "run_jobs", run_jobs)
    return endings


def test_jobs_that_have_not_begun_are_waiting(tmp_path, pretended):
    pretended += [("finished", {}), ("interrupted", {}), ("not run", {}), ("not run", {})]
    stopped = command(tmp_path, "-m", "sweep=a", "seed=0,1,2,3")
    assert stopped.code == 143
    assert "4 jobs: 2 not run, 1 finished, 1 interrupted; the same line goes on" in stopped.err
    line = next(line for line in stopped.err.splitlines() if line.startswith("  alasca-train "))
    assert "4 jobs, 3 to run" in command(tmp_path, *shlex.split(line)[1:], "--dry-run").out
    status = command(tmp_path, "status", "a", entry="sweep").out.splitlines()
    assert "4 jobs: 3 waiting, 1 finished" in status
    assert [line.split()[0] for line in status[:4]] == ["finished", "waiting", "waiting", "waiting"]
    assert ["interrupted" in line for line in status[:4]] == [False, True, False, False]
    pretended.clear()
    pretended += [("finished", {})]
    command(tmp_path, "-m", "sweep=a", "seed=7")
    with (tmp_path / "sweeps" / "a" / "jobs.txt").open("a") as file:
        file.write("../../elsewhere\n\n")
    assert "5 jobs: 3 waiting, 2 finished" in command(tmp_path, "status", "a", entry="sweep").out


@pytest.mark.parametrize("last", ["finished", "interrupted"])
def test_what_did_not_act_is_told_at_the_end_and_in_the_status(tmp_path, pretended, last):
    slept = {"selector": "the noise rate was estimated to be 0 before epoch 3"}
    pretended += [("finished", slept), ("finished", {}), ("finished", slept), (last, {})]
    outcome = command(tmp_path, "-m", "sweep=a", "seed=0,1,2,3")
    status = command(tmp_path, "status", "a", entry="sweep").out
    for text in (outcome.out + outcome.err, status):
        remark, _, after = text.partition("selector did not act: ")[2].partition("\n")
        assert remark == f"{slept['selector']}, in"
        named = list(itertools.takewhile(lambda line: line.startswith("  "), after.splitlines()))
        assert len(named) == 2 and "seed0-" in named[0] and "seed2-" in named[1]
    assert sum(line.endswith("selector did not act") for line in status.splitlines()) == 2
    quiet = command(tmp_path, "-m", "sweep=b", "seed=0,1,2,3", "hydra.launcher.view=none")
    assert last == "interrupted" or "did not act" not in quiet.out + quiet.err


def test_sweeps_without_a_name_do_not_meet(tmp_path, fast_jobs):
    for _ in range(2):
        assert command(tmp_path, "-m", "seed=0").code == 0
    assert len(list((tmp_path / "sweeps").iterdir())) == 2
    assert len(fast_jobs) == 2


def test_a_sweep_in_an_experiment_multiplies_with_the_line(tmp_path, fast_jobs):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      method: ce,elr\n"
    )
    outcome = command(tmp_path, "--config-dir", "conf", "-m", "sweep=a", "experiment=own", "seed=0,1")
    assert outcome.code == 0, outcome
    assert "4 of 4" in outcome.out
    assert all(["--config-dir", str(tmp_path / "conf")] == words[4:6] for words in fast_jobs)


GRIDS = """# @package _global_
hydra:
  sweeper:
    params:
      seed: 0,1
    grids:
      - method: ce
        optim.weight_decay: 0,1e-3,1e-2
      - method: elr
        criterion.strength: 1,3
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {("ce", "0"), ("ce", "0.001"), ("ce", "0.01"), ("elr", "1"), ("elr", "3")}),
        # The command line takes the place of values ...
        (["optim.weight_decay=0.5", "method=ce"], {("ce", "0.5")}),
        (["criterion.strength=7,8", "method=elr"], {("elr", "7"), ("elr", "8")}),
        # ... and leaves out grids of another one.
        (["method=elr"], {("elr", "1"), ("elr", "3")}),
        (["method=elr,ce", "optim.weight_decay=0.1"], {("ce", "0.1"), ("elr", "1"), ("elr", "3")}),
        # An option of one grid that the methods of others do not have.
        (["criterion.strength=7,8"], {("ce", "0"), ("ce", "0.001"), ("ce", "0.01"), ("elr", "7"), ("elr", "8")}),
    ],
)
def test_several_grids_are_one_sweep(tmp_path, fast_jobs, given, expected):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text(GRIDS)
    outcome = command(tmp_path, "--config-dir", "conf", "-m", "sweep=a", "experiment=own", *given)
    assert outcome.code == 0, outcome
    found = []
    for file in (tmp_path / "sweeps" / "a").glob("*/job.json"):
        about = json.loads(file.read_text())
        config, method = about["config"], about["choices"]["method"]
        value = config["criterion"]["strength"] if method == "elr" else config["optim"]["weight_decay"]
        found.append((method, f"{value:g}", config["seed"]))
    assert sorted(found) == sorted((*pair, seed) for pair in expected for seed in (0, 1))


def test_a_line_that_leaves_no_grid_is_refused(tmp_path, fast_jobs):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text(GRIDS)
    outcome = command(tmp_path, "--config-dir", "conf", "-m", "sweep=a", "experiment=own", "method=gce")
    assert outcome.code == 1
    assert "no grid of this sweep" in outcome.err and "Traceback" not in outcome.err
    assert not fast_jobs


def test_an_option_of_grids_that_are_left_out_is_not_ignored(tmp_path, fast_jobs):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text(GRIDS)
    line = ("-m", "sweep=a", "experiment=own", "method=ce", "criterion.strength=1,2")
    outcome = command(tmp_path, "--config-dir", "conf", *line)
    assert outcome.code == 1
    assert "criterion.strength concerns none of the grids" in outcome.err and "Traceback" not in outcome.err
    assert not fast_jobs


def test_commands_of_jobs_leave_out_what_concerns_the_sweep(tmp_path, fast_jobs):
    command(tmp_path, "-m", "sweep=a", "seed=0,1", "hydra.launcher.jobs=1", "hydra.verbose=true")
    for words in fast_jobs:
        assert words[1:4] == ["-P", "-m", "alasca_pl.cli"]
        assert [item for item in words if item.startswith("hydra")] == ["hydra.verbose=true", words[-1]]
        assert words[-1].startswith("hydra.run.dir='sweeps/a/ce_digits_symmetric0.8_seed")
        assert not any(item.startswith("sweep") for item in words)


def test_what_depends_on_choices_is_composed_for_each_job(tmp_path, fast_jobs):
    name = "remark=${hydra:runtime.choices.method}"
    outcome = command(tmp_path, "-m", "sweep=a", f"+{name}", "method=ce,elr")
    assert outcome.code == 0, outcome
    files = (tmp_path / "sweeps" / "a").glob("*/job.json")
    assert {json.loads(file.read_text())["config"]["remark"] for file in files} == {"ce", "elr"}


NASTY = ["two words", "a,b", "a=b", "it's", 'say "hi"', "größe", "brack[et]s", "semi;colon", "x" * 300]


@pytest.mark.parametrize("nasty", [NASTY[:4], pytest.param(NASTY[4:], marks=pytest.mark.slow)])
def test_values_reach_the_jobs_as_they_were_given(tmp_path, fast_jobs, nasty):
    escaped = ",".join("'" + value.replace("'", "\\'") + "'" for value in nasty)
    outcome = command(tmp_path, "-m", "sweep=a", f"+remark={escaped}", "seed=0")
    assert outcome.code == 0, outcome
    files = (tmp_path / "sweeps" / "a").glob("*/job.json")
    assert sorted(json.loads(file.read_text())["config"]["remark"] for file in files) == sorted(nasty)
    # The job itself reads its command as a single run.
    given = [next(item for item in quote_paths(words) if item.startswith("+remark=")) for words in fast_jobs]
    assert sorted(OverridesParser.create().parse_override(item).value() for item in given) == sorted(nasty)


def test_a_blank_in_a_path_is_no_backslash_in_the_job():
    assert portable_override("data.root=two\\ x") == "data.root='two x'"
    assert portable_override("seed=1") == "seed=1"
    assert portable_override("~logger") == "~logger"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["sweep=a", "seed=0,1"], ["-m", "hydra.sweep.dir=sweeps/a", "seed=0,1"]),
        (["-m", "seed=0,1", "sweep=a"], ["-m", "hydra.sweep.dir=sweeps/a", "seed=0,1"]),
        (
            ["--config-dir", "x=y", "sweep=a", "seed=0"],
            ["-m", "--config-dir", "x=y", "hydra.sweep.dir=sweeps/a", "seed=0"],
        ),
        (["--dry-run", "seed=0"], ["-m", "hydra.launcher.dry_run=true", "seed=0"]),
        (["seed=0"], ["seed=0"]),
    ],
)
def test_arguments_of_sweeps_are_translated(given, expected):
    assert sweep_arguments(given) == expected


@pytest.mark.parametrize(
    "wrong", [["sweep=a", "sweep=b"], ["sweep=a,b"], ["sweep=../x"], ["sweep=a", "hydra.sweep.dir=x"]]
)
def test_names_of_sweeps_that_would_mislead_are_refused(wrong):
    with pytest.raises(UserError, match="sweep"):
        sweep_arguments(wrong)


def typed(folder: Path, *arguments: str) -> Outcome:
    """The line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "alasca_pl.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_finished_sweep_answers_without_torch(tmp_path, fast_jobs):
    assert command(tmp_path, "-m", "sweep=a", "seed=0,1").code == 0
    code = "import sys; from alasca_pl.cli import train; import atexit\n" + (
        "atexit.register(lambda: print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'torch', 'lightning', 'sklearn', 'torchmetrics', 'matplotlib', 'submitit'})))\ntrain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-m", "sweep=a", "seed=0,1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs are finished, 0 of them now" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_what_was_composed_is_forgotten_when_a_config_changes(tmp_path, fast_jobs):
    (tmp_path / "conf" / "method").mkdir(parents=True)
    own = tmp_path / "conf" / "method" / "own.yaml"
    own.write_text("# @package _global_\ncriterion:\n  _target_: alasca_pl.methods.cross_entropy.CrossEntropy\n")
    line = ("--config-dir", "conf", "-m", "sweep=a", "method=own")
    assert "1 of them now" in command(tmp_path, *line).out
    assert "0 of them now" in command(tmp_path, *line).out
    own.write_text(own.read_text() + "+epochs: 3\n".replace("+", ""))
    assert "1 of them now" in command(tmp_path, *line).out


@pytest.mark.slow
def test_a_real_job_is_a_single_run_in_its_folder(tmp_path):
    outcome = typed(tmp_path, *QUICK, "-m", "sweep=a", "seed=3")
    assert outcome.code == 0, outcome
    (folder,) = [path for path in (tmp_path / "sweeps" / "a").iterdir() if path.is_dir()]
    record = json.loads((folder / "record.json").read_text())
    assert (record["status"], record["seed"]) == ("finished", 3)
    assert folder.name.endswith(record["digest"])
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 3
    assert record["overrides"] == ["trainer=smoke", "callbacks=quiet", "seed=3"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_jobs_of_one_and_two_processes_equal_their_single_runs(tmp_path):
    """Also that the metrics do not depend on the order."""
    common = (*QUICK[:2], "model.norm=group", "trainer.accelerator=cpu", "trainer.strategy=ddp_fork")
    line = (*common, "-m", "sweep=a", "trainer.devices=2,1", "seed=0,1", "hydra.launcher.threads=1")
    assert typed(tmp_path, *line).code == 0
    swept = {}
    for folder in (tmp_path / "sweeps" / "a").iterdir():
        if folder.is_dir():
            config = yaml.safe_load((folder / "config.yaml").read_text())
            swept[config["trainer"]["devices"], config["seed"]] = (folder / "metrics.csv").read_text()
    assert len(swept) == 4
    for (devices, seed), text in swept.items():
        name = f"alone{devices}{seed}"
        alone = typed(tmp_path, *common, f"trainer.devices={devices}", f"seed={seed}", f"hydra.run.dir={name}")
        assert alone.code == 0, alone
        assert (tmp_path / name / "metrics.csv").read_text() == text
