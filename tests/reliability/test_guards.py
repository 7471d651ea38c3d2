"""Nothing that exists is lost: folders and resumes that would overwrite something are refused."""

import shlex
import shutil

import lightning as L
import pytest
import torch

from alasca_pl.cli.arguments import quote_paths, resume_arguments
from alasca_pl.core.errors import UserError
from alasca_pl.core.record import RunRecord
from alasca_pl.runs import training_run as runs
from alasca_pl.runs.load import load_run
from running import SMALLER, TINY, command, config_for, train


def _files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _refused(folder, message, *overrides):
    before = _files(folder)
    with pytest.raises(UserError, match=message):
        runs.prepare(config_for(*overrides), folder, {})
    assert _files(folder) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guards") / "run"
    train(folder, "epochs=2")
    return folder


def test_a_finished_run_is_not_trained_over(finished):
    _refused(finished, "already holds a finished run", "epochs=2")


@pytest.mark.parametrize("epochs", [2, 1])
def test_a_finished_run_goes_on_only_for_more_epochs(finished, epochs):
    message = rf"this run is finished: .*2 finished epochs, epochs={epochs} .*result is in {finished} .*record\.json"
    _refused(finished, message, f"epochs={epochs}", f"ckpt_path={finished}/checkpoints/last.ckpt")


def test_the_command_that_trains_a_finished_run_longer_is_accepted(finished, tmp_path):
    folder = tmp_path / "a copy"
    shutil.copytree(finished, folder)
    outcome = command(tmp_path, "ckpt_path=a copy", *TINY, "epochs=2")
    assert outcome.code == 1, outcome
    words = shlex.split(outcome.err.splitlines()[-2].partition("to train longer: alasca-train ")[2])
    assert words == [f"ckpt_path={folder}", "epochs=4"]
    options = resume_arguments(quote_paths(["replay=false", *TINY, *words]))
    run = runs.prepare(config_for(*(each for each in options if not each.startswith("hydra"))), folder, {})
    assert run.trainer.max_epochs == 4 and run.checkpoint == folder / "checkpoints" / "last.ckpt"
    run.lock.undo()


def test_a_run_that_its_steps_have_ended_says_that_it_cannot_be_trained_longer(tmp_path):
    train(tmp_path, *SMALLER, "+trainer.max_steps=2")
    message = r"this run is finished: the checkpoint has 2 steps, trainer\.max_steps=2 .*cannot be trained longer"
    _refused(tmp_path, message, *SMALLER, "+trainer.max_steps=2", f"ckpt_path={tmp_path}/checkpoints/last.ckpt")


def test_a_finished_run_without_checkpoints_says_where_its_result_is(finished, tmp_path):
    shutil.copy(finished / "record.json", tmp_path)
    with pytest.raises(UserError, match=f"this run is finished.*cannot be trained longer.*{tmp_path}"):
        resume_arguments([f"ckpt_path={tmp_path}"])


def test_going_on_from_the_best_checkpoint_would_lose_what_came_after(finished):
    _refused(finished, "best.ckpt.*last.ckpt", "epochs=3", f"ckpt_path={finished}/checkpoints/best.ckpt")


def test_a_branch_from_the_best_checkpoint_gets_its_own_folder(finished, tmp_path):
    before = _files(finished)
    record = train(tmp_path / "branch", "epochs=3", f"ckpt_path={finished}/checkpoints/best.ckpt")
    assert record.status == "finished" and record.metrics["last"]["epoch"] == 2
    assert _files(finished) == before


def test_a_folder_with_files_of_the_same_names_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("mine")
    _refused(tmp_path, "holds metrics.csv, which a run would overwrite")


def test_a_folder_reached_by_another_path_is_the_same(finished, tmp_path, monkeypatch):
    """The way out that an error names must work, also with .. in it."""
    folder = tmp_path / "run"
    train(folder, "epochs=1")
    monkeypatch.chdir(folder)
    record = train(folder, "epochs=2", "ckpt_path=../run/checkpoints/last.ckpt")
    assert record.metrics["last"]["epoch"] == 1


def test_failed_runs_say_why_and_keep_their_metrics(tmp_path):
    with pytest.raises(FloatingPointError, match=r"not finite in epoch \d+, step \d+; samples"):
        train(tmp_path / "run", "optim.lr=1e30", "epochs=4", "alasca=none")
    record = RunRecord.read(tmp_path / "run" / "record.json")
    assert record.status == "failed" and "FloatingPointError" in record.problem


class _Breaks(L.Callback):
    """Makes a weight infinite after the last step of an epoch, when its loss was finite."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.current_epoch == 1 and batch_idx + 1 == trainer.num_training_batches:
            next(pl_module.method.networks.parameters()).data.view(-1)[0] = float("inf")


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    run = runs.prepare(config_for(*SMALLER, "alasca=none"), tmp_path / "run", {})
    run.trainer.callbacks.insert(0, _Breaks())
    with pytest.raises(FloatingPointError, match=r"^method\.networks\.0\.\S+ is not finite in epoch 2, step \d+; try"):
        runs.train(run)
    assert load_run(tmp_path / "run").epoch == 0
    assert RunRecord.read(tmp_path / "run" / "record.json").status == "failed"


@pytest.mark.parametrize("value", ["abc", "null", "-1", "true"])
@pytest.mark.parametrize("name", ["epochs", "seed"])
def test_whole_numbers_are_asked_for(tmp_path, name, value):
    config = config_for()
    config[name] = {"abc": "abc", "null": None, "-1": -1, "true": True}[value]
    with pytest.raises(UserError, match=f"{name} must be a whole number"):
        runs.prepare(config, tmp_path / "run", {})


def test_paths_are_quoted_for_hydra_unless_they_are_already():
    plain = [
        "ckpt_path=/a b/(c)=d,é/last.ckpt",
        "data.root='/x y'",
        "data.path=null",
        "method=ce",
        "hydra.run.dir=${x}",
    ]
    quoted = [
        "ckpt_path='/a b/(c)=d,é/last.ckpt'",
        "data.root='/x y'",
        "data.path=null",
        "method=ce",
        "hydra.run.dir=${x}",
    ]
    assert quote_paths(plain) == quoted
    assert quote_paths(["-m", "data.path=a,b"]) == ["-m", "data.path=a,b"]


def test_a_method_may_set_what_the_data_set_recommends(tmp_path):
    """Recommendations of a data set give way to an optimiser's or method's own values."""
    assert config_for("model=small", "data=cifar10")["optim"]["lr"] == 0.02
    assert config_for("model=small", "data=cifar10", "suggested.lr=0.3")["optim"]["optimizer"]["lr"] == 0.3
    config = config_for("model=small", "data=cifar100", "optim=sgd_cosine", "optim.lr=0.1")
    assert config["optim"]["optimizer"]["lr"] == 0.1 and "milestones" not in config["optim"]
    assert config_for("data=npz", "data.path=x.npz")["noise"]["_target_"].endswith("NoiseModel")


def test_a_line_that_says_all_repeats_nothing_of_the_checkpoint(tmp_path):
    """As a sweep's line without a callback of one's own that was there when its jobs were interrupted."""
    line = [*TINY, "data.max_train_samples=64", "hydra.run.dir=run"]
    own = "+callbacks.teller={_target_: test_interrupts.Teller, hook: teardown, told: 0}"
    assert command(tmp_path, *line, "epochs=1", own).code == 0
    resumed = [*line, "epochs=2", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"]
    assert "trust=true" in command(tmp_path, *resumed).err
    outcome = command(tmp_path, *resumed, "replay=false")
    assert outcome.code == 0, outcome
    assert own not in RunRecord.read(tmp_path / "run" / "record.json").overrides


def test_a_checkpoint_from_before_an_option_was_added_goes_on_with_its_default_only(tmp_path):
    assert command(tmp_path, *TINY, "data.max_train_samples=64", "epochs=1", "hydra.run.dir=run").code == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    assert stored["alasca_pl"]["config"]["predict"].pop("average") == "logits"
    torch.save(stored, last)
    other = command(tmp_path, f"ckpt_path={last}", "epochs=2", "predict.average=probs")
    assert other.code == 1 and "predict.average (was 'logits', now 'probs')" in other.err
    outcome = command(tmp_path, f"ckpt_path={last}", "epochs=2")
    assert outcome.code == 0, outcome
