"""One row of metrics per epoch: what it holds, how it is written, and what is said at the end."""

import csv
import io
import itertools
import logging

import lightning as L
import pytest
import torch
from rich.console import Console

from alasca_pl.core.errors import UserError
from alasca_pl.core.rows import read_rows
from alasca_pl.report.summary import render
from alasca_pl.runs.early import check_early
from alasca_pl.training.callbacks.history import History
from running import checkpoint, config_for, train, train_killed


class LogsTheEpoch(L.Callback):
    """A user's callback."""

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        pl_module.log("own", float(trainer.current_epoch))


def test_what_a_callback_logs_is_in_the_row_of_its_epoch(tmp_path):
    assert config_for()["epochs"] == 3
    record = train(tmp_path, "+callbacks.own={_target_: training.test_history.LogsTheEpoch}")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["own"]) for row in rows] == [0.0, 1.0, 2.0]
    assert record.metrics["last"]["own"] == 2.0


class LogsSometimes(L.Callback):
    """A user's callback that measures in even epochs only."""

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch % 2 == 0:
            pl_module.log("even", 1.0)


def cells(folder) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_epochs_without_validation_have_empty_cells(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        record = train(
            tmp_path, "epochs=5", "data.num_val=50", "optim.milestones=[9]", "report.last_epochs=3",
            "+trainer.check_val_every_n_epoch=2", "callbacks=default", "callbacks.progress.bar=false",
            "+callbacks.own={_target_: training.test_history.LogsSometimes}",
        )  # fmt: skip
    rows = cells(tmp_path)
    for name in ("val/acc", "test/acc", "test/acc_main"):
        assert [row[name] != "" for row in rows] == [False, True, False, True, False]
    assert all(row["train/loss"] and row["train/acc_observed"] for row in rows)
    # What a callback logs in some epochs is not repeated either.
    assert [row["even"] for row in rows] == ["1.0", "", "1.0", "", "1.0"]
    lines = [each.message for each in caplog.records if each.message.startswith("epoch ")]
    assert ["test acc" in line for line in lines] == [False, True, False, True, False]
    # Epochs 2 and 4 were measured; of the last three only the fourth.
    metrics = record.metrics
    assert metrics["last"]["epoch"] == 3 and metrics["last"]["test/acc"] == float(rows[3]["test/acc"])
    assert metrics["mean_of_last"] == {"epochs": 1} | {
        name: float(value) for name, value in rows[3].items() if name.startswith("test/acc")
    }
    best = max((rows[1], rows[3]), key=lambda row: float(row["val/acc"]))
    assert metrics["best_val"]["epoch"] == int(best["epoch"])
    stored = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert stored["epoch"] == int(best["epoch"]) and checkpoint(tmp_path)["epoch"] == 4
    printed = io.StringIO()
    Console(file=printed, width=200).print(render(record, None))
    assert "last measured epoch (4)" in printed.getvalue() and "mean of last 1 measured" in printed.getvalue()


def test_rows_of_epochs_are_appended_and_a_new_column_writes_the_file_once(tmp_path, monkeypatch):
    files = []
    real = History.on_train_epoch_end

    def noting(self, trainer, pl_module):
        real(self, trainer, pl_module)
        files.append(self.path.stat().st_ino)

    monkeypatch.setattr(History, "on_train_epoch_end", noting)
    train(tmp_path, "epochs=6", "optim.milestones=[9]", "data.num_val=50", "+trainer.check_val_every_n_epoch=3")
    # A file that is written anew has another number.
    assert [one == other for one, other in itertools.pairwise(files)] == [True, False, True, True, True]
    assert read_rows(tmp_path / "metrics.csv") == checkpoint(tmp_path)["callbacks"]["History"]["rows"]


def test_a_killed_process_leaves_half_a_line_that_a_resume_replaces(tmp_path):
    train_killed(tmp_path / "killed", 25, "epochs=4", "optim.milestones=[9]")
    path = tmp_path / "killed" / "metrics.csv"
    whole = read_rows(path)
    assert len(whole) == 2
    with path.open("a") as file:
        file.write("2,30,0.2")
    assert read_rows(path) == whole
    last = f"ckpt_path={tmp_path / 'killed' / 'checkpoints' / 'last.ckpt'}"
    train(tmp_path / "killed", "epochs=4", "optim.milestones=[9]", last)
    train(tmp_path / "other", "epochs=4", "optim.milestones=[9]")
    assert path.read_bytes() == (tmp_path / "other" / "metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+trainer.max_steps=0", r"trainer\.max_steps must be a whole number of at least 1, got 0; leave it out"),
        ("trainer.limit_train_batches=0", r"trainer\.limit_train_batches must be .* above 0"),
        ("trainer.max_epochs=0", r"trainer\.max_epochs must be .* at least 1"),
    ],
)
def test_training_of_no_length_is_refused_early(option, message):
    with pytest.raises(UserError, match=message):
        check_early(config_for(option))


def test_training_that_comes_to_no_step_is_no_finished_run(tmp_path):
    with pytest.raises(UserError, match="nothing was trained"):
        train(tmp_path, "+trainer.max_time=00:00:00:00")


def test_the_summary_says_that_steps_cut_training_and_why_accuracy_is_not_there(tmp_path):
    record = train(tmp_path, "+trainer.max_steps=5")
    printed = io.StringIO()
    Console(file=printed, width=200).print(render(record, None))
    assert "accuracy was not measured: no epoch with validation was completed" in printed.getvalue()
    assert "training was ended by trainer.max_steps=5, in epoch 1 of 3" in printed.getvalue()
