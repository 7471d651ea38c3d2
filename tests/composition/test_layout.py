"""The memory format of images and weights changes rounding only, for every method."""

import pytest

from facts import METHODS
from running import checkpoint, distance, method_overrides, slow_unless, train

# Three epochs of 17 steps, in which every phase of a method begins. In double precision, because in single precision rounding
# grows to hundredths within so many steps, and would hide a difference of formulas.
STEPS = ("epochs=3", "data.max_train_samples=544", "data.batch_size=32", "trainer.precision=64-true")


@pytest.mark.parametrize("method", slow_unless(("ce",), METHODS))
def test_fifty_steps_in_either_memory_format_agree(tmp_path, method):
    options = (*STEPS, *method_overrides(method, "paper"))
    train(tmp_path / "one", *options, "model.memory_format=contiguous")
    train(tmp_path / "other", *options, "model.memory_format=channels_last")
    one, other = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "other")
    assert one["global_step"] >= 50
    assert 0 < distance(one["state_dict"], other["state_dict"]) < 1e-7
