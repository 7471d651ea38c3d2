"""The examples in docs/howto, run as they stand."""

import runpy
from pathlib import Path

import pytest
import torch

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def example(name: str):
    return runpy.run_path(str(HOWTO / name))


def test_parts_in_a_plain_loop():
    result = example("plain_loop.py")["main"](epochs=6)
    # Guessing gives 0.1 for both.
    assert result["accuracy"] > 0.5
    assert result["confidence in clean labels"] > 0.1 + result["confidence in wrong labels"]


def test_parts_in_a_lightning_module(tmp_path):
    options = {"limit_train_batches": 2, "accelerator": "cpu", "enable_progress_bar": False}
    options |= {"enable_model_summary": False, "default_root_dir": tmp_path}
    module, trainer = example("own_lightning_module.py")["main"](epochs=1, **options)
    seen = module.mean_loss.rows.flatten() > 0
    assert int(seen.sum()) == 2 * 64
    assert torch.equal(module.alasca.label_confidence.table.rows.abs().sum(dim=1) > 0, seen)
    assert float(trainer.callback_metrics["loss_alasca"]) > 0
    # The tables are in the checkpoint, from which another module gets them.
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    other = type(module)(num_samples=len(seen), num_classes=10)
    other.load_state_dict(state)
    assert torch.equal(other.mean_loss.rows, module.mean_loss.rows)


@pytest.mark.parametrize("path", sorted(HOWTO.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_run_above(path):
    assert path.name in Path(__file__).read_text()
