"""A run that was killed and goes on ends with the same bits as one that was never stopped."""

import random

import numpy as np
import pytest
import torch

from running import assert_same_bits, checkpoint, method_overrides, train, train_killed

# Every method is killed once in tests/composition/test_matrix.py; here more often, and with other checkpoints.
METHODS = {
    "alasca": ("alasca=paper",),
    "elr_alasca": ("method=elr", "alasca=paper", "regularizers.alasca.ramp_epochs=2"),
    "als_ema": ("method=als_ema", "alasca=none"),
    "two_networks": ("num_networks=2", "alasca=paper", "regularizers.alasca.ramp_epochs=2"),
    "dividemix": method_overrides("dividemix", "paper"),
}


def _last(folder):
    return f"ckpt_path={folder}/checkpoints/last.ckpt"


def _assert_same_run(killed, whole):
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    mine, theirs = checkpoint(killed), checkpoint(whole)
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
        assert_same_bits(mine[part], theirs[part])
    assert_same_bits(mine["callbacks"]["LabelEvidence"], theirs["callbacks"]["LabelEvidence"])
    with np.load(killed / "samples.npz") as one, np.load(whole / "samples.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# 10 steps make an epoch: None writes checkpoints at the end of epochs, 4 also within, 10 asks for just its last step.
@pytest.mark.parametrize(
    ("method", "every"),
    [
        ("alasca", None),
        ("alasca", 4),
        ("alasca", 10),
        pytest.param("elr_alasca", 4, marks=pytest.mark.slow),
        pytest.param("als_ema", None, marks=pytest.mark.slow),
        ("two_networks", 4),
        pytest.param("dividemix", 4, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, method, every):
    overrides = (*METHODS[method], f"checkpoint.every_n_steps={every or 'null'}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    record = train(whole, *overrides)
    rng = random.Random(f"{method} {every}")
    steps = sorted(rng.sample(range(11, 30), 2))
    resumed_at = []
    for step in steps:
        resume = (_last(killed),) if killed.exists() else ()
        train_killed(killed, step, *overrides, *resume)
        resumed_at.append(checkpoint(killed)["global_step"])
    # Without checkpoints in between nothing would have been tested.
    assert 0 < resumed_at[0] <= steps[0] and resumed_at[-1] <= steps[-1]
    again = train(killed, *overrides, _last(killed))
    _assert_same_run(killed, whole)
    assert again.metrics == record.metrics
    assert again.sessions[0].resumed_from is None
    assert len(again.sessions) == 1 + len(steps)


def test_dropout_goes_on_where_it_was(tmp_path, monkeypatch):
    """Draws that a network makes itself come back with the random state of the checkpoint."""
    from alasca_pl.models import network

    class Dropping(network.Network):
        def __init__(self, backbone, num_classes):
            super().__init__(backbone, num_classes)
            self.pool = torch.nn.Sequential(self.pool, torch.nn.Dropout(0.5))

    monkeypatch.setattr("alasca_pl.build.networks.Network", Dropping)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(whole, "checkpoint.every_n_steps=3")
    train_killed(killed, 17, "checkpoint.every_n_steps=3")
    assert checkpoint(killed)["global_step"] == 15
    train(killed, "checkpoint.every_n_steps=3", _last(killed))
    _assert_same_run(killed, whole)


def test_longer_training_goes_on_from_a_finished_run(tmp_path):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    train(whole, "epochs=3")
    train(extended, "epochs=2")
    train(extended, "epochs=3", _last(extended))
    _assert_same_run(extended, whole)


def test_last_is_the_last_epoch_and_best_the_best(tmp_path):
    record = train(tmp_path / "run", "epochs=5", "optim.lr=0.2")
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 4
    best = torch.load(folder / "best.ckpt", weights_only=True)["epoch"]
    assert best == record.metrics["best_val"]["epoch"]
