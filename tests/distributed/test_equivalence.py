"""Two processes take the steps of one."""

import pytest
import torch

from running import checkpoint, tensors, train

METHODS = {
    "ce": ("alasca=none",),
    "alasca": ("alasca=paper", "regularizers.alasca.ramp_epochs=1"),
    "elr": ("method=elr", "alasca=paper"),
    "two_networks": ("num_networks=2", "alasca=paper", "trainer.gradient_clip_val=1.0"),
}
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp_fork")


def _distance(one, other):
    left, right = tensors(checkpoint(one)["state_dict"]), tensors(checkpoint(other)["state_dict"])
    assert left.keys() == right.keys()
    differences = [(left[name].double() - right[name].double()).abs().max().item() for name in left]
    return max(differences)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("precision", "epochs", "tolerance"), [("32-true", 1, 1e-6), ("64-true", 3, 1e-12)])
def test_two_processes_equal_one(tmp_path, method, precision, epochs, tolerance):
    # Rounding grows from step to step, so single precision is compared after fewer of them.
    overrides = (*METHODS[method], f"trainer.precision={precision}", f"epochs={epochs}", "optim.lr=0.005")
    train(tmp_path / "one", *overrides)
    train(tmp_path / "two", *TWO, *overrides)
    weights = checkpoint(tmp_path / "one")["state_dict"]["parts.networks.0.head.weight"]
    assert weights.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert _distance(tmp_path / "one", tmp_path / "two") < tolerance


def test_metrics_of_two_processes_equal_those_of_one(tmp_path):
    one = train(tmp_path / "one", "trainer.precision=64-true")["metrics"]["last"]
    two = train(tmp_path / "two", *TWO, "trainer.precision=64-true")["metrics"]["last"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == pytest.approx(value, abs=1e-9), name


def test_resume_with_two_processes_equals_uninterrupted(tmp_path):
    train(tmp_path / "whole", *TWO, "epochs=3")
    train(tmp_path / "parts", *TWO, "epochs=1")
    train(tmp_path / "parts", *TWO, "epochs=3", f"ckpt_path={tmp_path}/parts/checkpoints/last.ckpt")
    assert _distance(tmp_path / "whole", tmp_path / "parts") == 0.0
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "parts" / "metrics.csv").read_text()
