"""What ``alasca-evaluate`` takes, and what it says about what it cannot measure."""

import json
import shutil

import numpy as np
import pytest

from alasca_pl.runs.load import open_checkpoint
from running import checkpoint, command, config_for, runs, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on an array file without a test split, one whose labels nobody calls clean."""
    root = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 8, 8), dtype=np.uint8)
    np.savez(root / "own.npz", train_images=images, train_labels=np.arange(64) % 2)
    train(root / "run", "data=npz", f"data.path={root / 'own.npz'}", "data.num_val=16", "data.max_train_samples=null")
    return root


def test_a_run_without_a_test_split_names_the_option_that_helps(run):
    outcome = command(run, "ckpt_path=run/checkpoints/last.ckpt", entry="evaluate")
    assert outcome.code == 1 and outcome.err.count("\n") == 2
    assert "the data npz have no split 'test'; give split=val or split=train" in outcome.err


def test_the_folder_of_a_run_means_its_last_checkpoint(run, tmp_path):
    outcome = command(run, "ckpt_path=run", "split=val", f"output={tmp_path / 'a.json'}", entry="evaluate")
    assert outcome.code == 0, outcome
    assert json.loads((tmp_path / "a.json").read_text())["checkpoint"] == "run/checkpoints/last.ckpt"
    assert open_checkpoint(run / "run").epoch == 2
    folder = shutil.copytree(run / "run", tmp_path / "more")
    path = f"data.path={run / 'own.npz'}"
    more = ("data=npz", path, "data.num_val=16", "data.max_train_samples=null", "epochs=4", f"ckpt_path={folder}")
    config = config_for(*more)
    config["optim"] = open_checkpoint(folder).config["optim"]
    runs.train(runs.prepare(config, folder, {}))
    assert checkpoint(folder)["epoch"] == 3


def test_other_data_by_name_is_refused_with_what_there_is_instead(run):
    outcome = command(run, "ckpt_path=run", "data=digits", entry="evaluate")
    assert outcome.code == 1 and outcome.err.count("\n") == 2
    assert "data=digits: a checkpoint is measured on the data that it was trained on; data.root=" in outcome.err


def test_help_has_no_groups_that_a_checkpoint_fixes(tmp_path):
    outcome = command(tmp_path, "--help", entry="evaluate")
    assert outcome.code == 0 and "ckpt_path: ???" in outcome.out and "split=val" in outcome.out
    assert "volminnet" not in outcome.out
