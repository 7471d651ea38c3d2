"""Two processes take the steps of one."""

import numpy as np
import pytest
import torch

from alasca_pl.core.sample_file import SampleFile
from running import SMALLER, TWO, checkpoint, distance, train

METHODS = {
    "alasca": ("alasca=paper", "regularizers.alasca.ramp_epochs=1"),
    "two_networks": ("num_networks=2", "alasca=paper", "trainer.gradient_clip_val=1.0"),
}


def _distance(one, other):
    return distance(checkpoint(one)["state_dict"], checkpoint(other)["state_dict"])


@pytest.mark.parametrize(
    ("method", "precision", "epochs", "tolerance"),
    [
        ("alasca", "32-true", 1, 1e-6),
        pytest.param("alasca", "64-true", 3, 1e-12, marks=pytest.mark.slow),
        pytest.param("two_networks", "32-true", 1, 1e-6, marks=pytest.mark.slow),
        ("two_networks", "64-true", 3, 1e-12),
    ],
)
def test_two_processes_equal_one(tmp_path, method, precision, epochs, tolerance):
    """Every method is compared in tests/composition/test_matrix.py; here clipping, and all that ALASCA needs."""
    # Rounding grows from step to step, and at any of them it may carry a number over the kink of a ReLU; so single
    # precision is compared after fewer of them.
    size = SMALLER if precision == "32-true" else ()
    overrides = (*METHODS[method], *size, f"trainer.precision={precision}", f"epochs={epochs}", "optim.lr=0.005")
    train(tmp_path / "one", *overrides)
    train(tmp_path / "two", *TWO, *overrides)
    weights = checkpoint(tmp_path / "one")["state_dict"]["method.networks.0.head.weight"]
    assert weights.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert _distance(tmp_path / "one", tmp_path / "two") < tolerance


def test_metrics_of_two_processes_equal_those_of_one(tmp_path):
    one = train(tmp_path / "one", "trainer.precision=64-true").metrics["last"]
    two = train(tmp_path / "two", *TWO, "trainer.precision=64-true").metrics["last"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == pytest.approx(value, abs=1e-9), name
    mine, theirs = (SampleFile.load(tmp_path / folder / "samples.npz") for folder in ("one", "two"))
    assert (mine.visits == theirs.visits).all() and (mine.visits > 0).all()
    assert mine.evidence.keys() == theirs.evidence.keys()
    for name, value in mine.evidence.items():
        np.testing.assert_allclose(theirs.evidence[name], value, atol=1e-6, err_msg=name)


def test_resume_with_two_processes_equals_uninterrupted(tmp_path):
    train(tmp_path / "whole", *TWO, "epochs=3")
    train(tmp_path / "parts", *TWO, "epochs=1")
    train(tmp_path / "parts", *TWO, "epochs=3", f"ckpt_path={tmp_path}/parts/checkpoints/last.ckpt")
    assert _distance(tmp_path / "whole", tmp_path / "parts") == 0.0
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "parts" / "metrics.csv").read_text()
