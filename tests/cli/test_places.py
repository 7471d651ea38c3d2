"""Folders that commands choose themselves: named after the data, never shared."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from alasca_pl.cli.places import data_word
from alasca_pl.core.folder_lock import FolderLock
from alasca_pl.runs import training_run as runs
from hydra_plugins.alasca_sweeper import make_new_folder
from running import SMALLER, TINY, command, config_for


@pytest.mark.parametrize(
    ("choice", "places", "word"),
    [
        ("cifar10", (None, "/data"), "cifar10"),
        ("digits", (None, None), "digits"),
        ("folder", (None, "/data/cats and dogs/"), "cats-and-dogs"),
        ("folder", (None, "pictures.tar.gz"), "pictures"),
        ("csv", ("a/train.csv", "/images"), "train"),
        ("npz", ("/x/../own.npz", None), "own"),
        ("huggingface", ("some/set", None), "set"),
        ("folder", (None, "日本"), "folder"),
        ("folder", (None, "it's ${a} [1]"), "it-s-a-1"),
        ("folder", (None, "x" * 300), "x" * 60),
        ("folder", (None, None), "folder"),
        ("folder", (None, "/"), "folder"),
    ],
)
def test_data_of_ones_own_give_their_name(choice, places, word):
    assert data_word(choice, *places) == word


def test_a_dot_stays_in_the_name_of_a_folder(tmp_path):
    (tmp_path / "images.v2").mkdir()
    assert data_word("folder", None, str(tmp_path / "images.v2")) == "images.v2"
    assert data_word("npz", str(tmp_path / "images.v2.npz"), None) == "images"


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data_word("folder", None, ".") == tmp_path.name


def _own_data(folder):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (24, 8, 8)).astype(np.uint8), np.arange(24) % 3
    np.savez(folder / "my own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def test_a_run_on_ones_own_data_is_named_after_them(tmp_path):
    _own_data(tmp_path)
    options = ("data=npz", "data.path=my own.npz", "trainer=smoke", "data.batch_size=8", "model.backbone.width=4")
    outcome = command(tmp_path, *options, "callbacks=quiet")
    assert outcome.code == 0, outcome
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "my-own_none_ce_paper"
    assert json.loads(next(folder.glob("seed0_*/record.json")).read_text())["status"] == "finished"


def test_a_refused_run_leaves_no_folder(tmp_path):
    _own_data(tmp_path)
    outcome = command(tmp_path, "data=npz", "data.path=my own.npz", "data.num_classes=2")
    assert outcome.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["my own.npz"]


def test_a_run_that_is_new_never_takes_the_folder_of_another(tmp_path):
    config = config_for(*TINY, *SMALLER, "epochs=1")
    first = runs.prepare(config, tmp_path / "run", {}, is_new=True)
    second = runs.prepare(config, tmp_path / "run", {}, is_new=True)
    assert (first.folder.path.name, second.folder.path.name) == ("run", "run-2")
    for run in (second, first):
        assert run.lock is not None
        run.lock.undo()
    assert list(tmp_path.iterdir()) == []


def _acquire(folder, barrier, answers):
    lock = FolderLock(folder, ".lock")
    barrier.wait()
    answers.put(lock.acquire_new().name)
    barrier.wait()
    lock.release()


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    context, number = multiprocessing.get_context("fork"), 8
    barrier, answers = context.Barrier(number), context.Queue()
    children = [
        context.Process(target=_acquire, args=(tmp_path / "a" / "run", barrier, answers)) for _ in range(number)
    ]
    for child in children:
        child.start()
    names = {answers.get(timeout=60) for _ in children}
    for child in children:
        child.join(60)
    assert names == {"run", *(f"run-{place}" for place in range(2, number + 1))}


def _sweep(folder, barrier, answers):
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    barrier.wait()
    make_new_folder(config)
    answers.put(Path(config.hydra.sweep.dir).name)


def test_sweeps_that_start_at_once_get_folders_of_their_own(tmp_path):
    context, number = multiprocessing.get_context("fork"), 8
    barrier, answers = context.Barrier(number), context.Queue()
    children = [
        context.Process(target=_sweep, args=(tmp_path / "sweeps" / "now", barrier, answers)) for _ in range(number)
    ]
    for child in children:
        child.start()
    names = {answers.get(timeout=60) for _ in children}
    for child in children:
        child.join(60)
    assert names == {"now", *(f"now-{place}" for place in range(2, number + 1))}
