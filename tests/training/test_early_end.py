"""The end of training when the validation accuracy does not rise."""

from types import SimpleNamespace

import pytest
import torch

from alasca_pl.core.errors import UserError
from alasca_pl.training.callbacks.early_end import EarlyEnd
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
    with pytest.raises(UserError, match=r"ended early after 3 epochs, 2 of them .*early_end\.patience=null"):
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
