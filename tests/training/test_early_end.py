"""The end of training when the validation accuracy does not rise, and what is said about time."""

import logging
import time
from types import SimpleNamespace

import pytest
import torch

from alasca_pl.core.errors import UserError
from alasca_pl.training.callbacks.early_end import EarlyEnd
from alasca_pl.training.callbacks.progress import RunProgress, _roughly
from running import assert_same_bits, checkpoint, config_for, runs, train


def epochs_until_end(accuracies: list[float | None], patience: int) -> int:
    """Number of epochs after which training ends."""
    callback = EarlyEnd(patience)
    trainer = SimpleNamespace(should_stop=False, is_global_zero=True, max_epochs=len(accuracies), callback_metrics={})
    for epoch, value in enumerate(accuracies):
        trainer.current_epoch = epoch
        trainer.callback_metrics = {} if value is None else {"val/acc": torch.tensor(value)}
        callback.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            return epoch + 1
    return len(accuracies)


@pytest.mark.parametrize(
    ("accuracies", "patience", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1, 4),
        ([0.1, 0.3, 0.2, 0.2, 0.2], 2, 4),
        # As good as the best is not better.
        ([0.3, 0.3, 0.3], 1, 2),
        ([0.3, 0.2, 0.4, 0.2, 0.3, 0.3, 0.3], 3, 6),
        ([None, None, None], 1, 3),
    ],
)
def test_it_ends_after_epochs_without_a_better_accuracy(accuracies, patience, expected):
    assert epochs_until_end(accuracies, patience) == expected


def test_a_run_ends_early_and_goes_on_when_told(tmp_path):
    # With a learning rate of 0 nothing gets better.
    still = ("optim.lr=0.0", "model.norm=group", "epochs=4")
    record = train(tmp_path / "early", *still, "early_end.patience=2")
    assert record.status == "finished" and checkpoint(tmp_path / "early")["epoch"] == 2
    last = f"ckpt_path={tmp_path / 'early' / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(UserError, match=r"ended early after 3 epochs, 2 of them .*; early_end\.patience=null goes on"):
        runs.prepare(config_for(*still, "early_end.patience=2", last), tmp_path / "early", {})
    train(tmp_path / "early", *still, "early_end.patience=null", last)
    train(tmp_path / "whole", *still)
    assert_same_bits(checkpoint(tmp_path / "early")["state_dict"], checkpoint(tmp_path / "whole")["state_dict"])


def test_the_count_goes_on_after_a_resume(tmp_path):
    """Ended by hand after two epochs, of which one was no better, it ends after one more."""
    still = ("optim.lr=0.0", "model.norm=group", "early_end.patience=2")
    train(tmp_path / "run", *still, "epochs=2", "optim.milestones=[9]")
    train(
        tmp_path / "run", *still, "epochs=9", "optim.milestones=[9]", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    )
    assert checkpoint(tmp_path / "run")["epoch"] == 2


def test_a_patience_below_one_is_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0; null never ends early"):
        EarlyEnd(0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (89, "89 seconds"),
        (95, "2 minutes"),
        (700, "12 minutes"),
        (9000, "2.5 hours"),
    ],
)
def test_durations_in_words(seconds, text):
    assert _roughly(seconds) == text


def said(caplog, monkeypatch, seconds_of_step, steps_of_epoch: int, steps: int) -> list[str]:
    """What is logged over the first steps of ten epochs."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    trainer = SimpleNamespace(
        current_epoch=0, global_step=0, is_global_zero=True, num_training_batches=steps_of_epoch, max_epochs=10
    )
    callback = RunProgress(bar=False)
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        callback.on_train_start(trainer, None)
        for step in range(steps):
            clock[0] += seconds_of_step(step)
            trainer.global_step = step + 1
            trainer.current_epoch = step // steps_of_epoch
            callback.on_train_batch_end(trainer, None, {}, None, step % steps_of_epoch)
    return [record.message for record in caplog.records]


def test_the_duration_is_told_once_from_steps_without_the_slow_first_ones(caplog, monkeypatch):
    # 10 epochs of 120 steps of half a second; the first five take a minute each.
    assert said(caplog, monkeypatch, lambda step: 60.0 if step < 5 else 0.5, 120, 30) == [
        "about 10 minutes for 10 epochs"
    ]


def test_a_short_epoch_is_measured_as_a_whole(caplog, monkeypatch):
    assert said(caplog, monkeypatch, lambda step: 0.5, 4, 9) == ["about 20 seconds for 10 epochs"]
