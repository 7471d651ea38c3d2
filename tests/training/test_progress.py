"""What a run says while it trains."""

import logging
import time
from types import SimpleNamespace

import pytest
import torch

from alasca_pl.training.callbacks.progress import RunProgress, _describe, _roughly
from running import config_for, runs, train


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


OUTPUTS = {"loss": torch.tensor(5.0), "terms": {"loss_base/0": torch.tensor(1.0), "loss_base/1": torch.tensor(1.5)}}


def said(caplog, monkeypatch, seconds_of_step, steps_of_epoch: int, steps: int) -> list[str]:
    """What is logged over the first steps of ten epochs."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    trainer = SimpleNamespace(
        current_epoch=0, global_step=0, is_global_zero=True, num_training_batches=steps_of_epoch, max_epochs=10
    )
    trainer.callback_metrics = {}
    callback = RunProgress(bar=False)
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        callback.on_train_start(trainer, None)
        for step in range(steps):
            clock[0] += seconds_of_step(step)
            trainer.global_step = step + 1
            trainer.current_epoch = step // steps_of_epoch
            callback.on_train_batch_end(trainer, None, OUTPUTS, None, step % steps_of_epoch)
            if (step + 1) % steps_of_epoch == 0:
                callback.on_train_epoch_end(trainer, None)
    return [record.message for record in caplog.records]


def about(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("about")]


def test_the_duration_is_told_once_from_steps_without_the_slow_first_ones(caplog, monkeypatch):
    # 10 epochs of 120 steps of half a second; the first five take a minute each.
    lines = said(caplog, monkeypatch, lambda step: 60.0 if step < 5 else 0.5, 120, 30)
    assert about(lines) == ["about 10 minutes for 10 epochs"]


def test_a_short_epoch_is_measured_as_a_whole(caplog, monkeypatch):
    assert about(said(caplog, monkeypatch, lambda step: 0.5, 4, 9)) == ["about 20 seconds for 10 epochs"]


def test_a_long_epoch_says_something_once_a_minute(caplog, monkeypatch):
    lines = said(caplog, monkeypatch, lambda step: 13.0, 9, 20)
    within = [line for line in lines if "step" in line]
    # 5 x 13 = 65 seconds are the first full minute; the end of an epoch has a line of its own, from which time counts anew.
    text = "loss 5.000 (base 2.500 + penalties 2.500)"
    assert within == [f"epoch 1/10  step 5/9  {text}", f"epoch 2/10  step 5/9  {text}"]


def test_the_loss_is_shown_with_its_parts():
    metrics = {
        "train/loss": 30.0,
        "train/loss_base": 2.0,
        "train/loss_alasca": 9.0,
        "val/acc": 0.5,
        "test/acc_main": 0.7,
    }
    assert _describe(metrics) == "loss 30.000 (base 2.000 + penalties 28.000)  val 50.0%"
    # What a callback of one's own logs under any name.
    assert _describe({"train/loss": 2.0, "train/loss_base": 2.0, "mine": 1.0}) == "loss 2.000"


def test_what_penalties_are_is_said_once_before_the_first_epoch(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        train(tmp_path / "with", "alasca=paper", "regularizers.alasca.strength=2.5", "epochs=2", "callbacks=default")
    lines = [record.message for record in caplog.records]
    said = "loss: base loss (of the main head) + penalties, each times its strength: alasca (strength 2.5)"
    first = next(place for place, line in enumerate(lines) if line.startswith("epoch 1/2"))
    assert lines.count(said) == 1 and lines.index(said) < first and "+ penalties" in lines[first]
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        train(tmp_path / "without", "alasca=none", "epochs=1", "callbacks=default")
    assert not any("penalties" in record.message for record in caplog.records)


def test_a_resume_says_where_it_goes_on(tmp_path, caplog):
    train(tmp_path / "run", "epochs=2", "optim.milestones=[9]")
    more = config_for("epochs=5", "optim.milestones=[9]", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        runs.prepare(more, tmp_path / "run", {}).lock.undo()
    assert "continuing with epoch 3 of 5" in [record.message for record in caplog.records]


def test_a_resume_within_an_epoch_says_so(tmp_path, caplog):
    def end():
        raise LookupError

    options = ("epochs=3", "checkpoint.every_n_steps=1")
    run = runs.prepare(config_for(*options), tmp_path / "run", {})
    steps = len(run.data.train_dataloader())
    assert steps > 1
    callback = RunProgress(bar=False)
    callback.on_train_batch_start = lambda trainer, *rest: end() if trainer.global_step == steps + 1 else None
    run.trainer.callbacks.append(callback)
    with pytest.raises(LookupError):
        runs.train(run)
    more = config_for(*options, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    with caplog.at_level(logging.INFO, logger="alasca_pl"):
        runs.prepare(more, tmp_path / "run", {}).lock.undo()
    assert "continuing with epoch 2 of 3, after 1 of its steps" in [record.message for record in caplog.records]
