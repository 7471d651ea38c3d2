"""``alasca_pl.train``: the command as a function that leaves the process as it was."""

import asyncio
import csv
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path
from unittest import mock

import matplotlib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import getbase

import alasca_pl
from alasca_pl import UserError, load_run, train
from alasca_pl.cli import in_python
from alasca_pl.core import interrupts
from alasca_pl.methods.cross_entropy import CrossEntropy
from running import assert_same_bits, checkpoint, command

TINY = {"epochs": 1, "data_max_train_samples": 64, "model_backbone": {"width": 4}, "callbacks": "quiet"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def options_of(*words, **options):
    return in_python._arguments(words, None, None, options)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "folder", "data_root": "a b"}, ["data=folder", "data.root='a b'"]),
        ({"early_end_patience": 3, "optim_lr": 1e-4}, ["early_end.patience=3", "optim.lr=0.0001"]),
        ({"num_networks": 2, "epochs": np.int64(7)}, ["num_networks=2", "epochs=7"]),
        ({"selector.ramp_epochs": 8}, ["selector.ramp_epochs=8"]),
        ({"data_num_val": np.float32(0.5), "data_flip": False}, ["data.num_val=0.5", "data.flip=false"]),
        ({"aux_stages": [1, 2], "data_mean": None}, ["aux.stages=[1,2]", "data.mean=null"]),
        ({"data_name": "null", "data_path": "${x}"}, ["data.name='null'", r"data.path='\${x}'"]),
        ({"criterion": {"_target_": CrossEntropy}}, [f"criterion={{_target_:{CrossEntropy.__module__}.CrossEntropy}}"]),
        ({"trainer_max_epochs": 5}, ["epochs=5"]),
    ],
)
def test_arguments_become_the_options_of_the_command(options, words):
    assert options_of(**options) == words


def test_words_are_taken_as_typed():
    assert options_of("data.root=[a", "+trainer.max_time=x", seed=1) == [
        "data.root='[a'",
        "+trainer.max_time=x",
        "seed=1",
    ]


class Local:
    pass


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ((), {"method": "elrr"}, "there is no config method/elrr (did you mean elr?)"),
        ((), {"metod": "elr"}, "there is no option metod (did you mean method?)"),
        ((), {"epochs": "many"}, "epochs must be a whole number of at least 1, got 'many'"),
        ((), {"noise_rate": 1.5}, "noise: noise rate must lie in [0, 1], got 1.5"),
        ((), {"data": "folder"}, "data.root has no value; give it as data.root=..."),
        ((), {"data": "folder", "data_root": "nowhere"}, "nowhere"),
        (("-m", "seed=0,1"), {}, "sweeps are for alasca-train -m"),
        ((), {"seed": "0,1"}, "seed must be a whole number"),
        ((), {"optim_lr": torch.zeros(2)}, "optim_lr takes texts, numbers, lists, mappings and classes, got Tensor"),
        ((), {"config_dir": "nowhere"}, "there is no folder nowhere"),
        ((), {"ckpt_path": "nowhere.ckpt"}, "no checkpoint"),
    ],
)
def test_mistakes_are_one_kind_of_error_with_the_message_of_the_command(words, options, message, tmp_path):
    with pytest.raises(UserError) as caught:
        train(*words, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert_is_shown_alone(caught.value)
    assert list(tmp_path.iterdir()) == []


def assert_is_shown_alone(error):
    """One error, of which Python shows the caller's line and no other of this package."""
    shown = "".join(traceback.format_exception(error))
    assert shown.count("Traceback (most recent call last)") == 1, shown
    assert "hydra" not in shown.lower().replace(str(error).lower(), ""), shown
    assert len(traceback.extract_tb(error.__traceback__)) <= 4, shown


def test_with_the_variable_of_the_commands_it_is_shown_where_an_error_came_from(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError) as caught:
        train(metod="elr")
    assert "hydra" in "".join(traceback.format_exception(caught.value))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(folder=tmp_path_factory.mktemp("opened") / "run", **TINY)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: load_run("nowhere"), "there is no folder nowhere"),
        (lambda run: load_run(None), "the folder of a run is a path"),
        (lambda run: load_run(run.folder, checkpoint="frist"), "the run has best, last"),
        (lambda run: alasca_pl.load_runs("nowhere"), "nothing is at 'nowhere'"),
        (lambda run: alasca_pl.audit_run(run.folder, score="margn"), "did you mean margin?"),
        (lambda run: run.predict(["broken.png"]), "broken.png': it is not an image of a known format"),
        (lambda run: run.predict(["broken.png"], num_workers=1), "^cannot decode image '.*broken.png'"),
        (lambda run: run.predict("broken.png"), "images are a list of paths, or pixels, got the one path 'broken.png'"),
        (lambda run: run.predict(["broken.png"], batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda run: run.predict(["broken.png"], num_workers=-1), "num_workers must be at least 0, got -1"),
        (lambda run: run.predict(np.zeros((1, 8, 8), np.uint8), rule="mian"), "unknown prediction rule 'mian'"),
        (lambda run: run.predict(np.zeros((1, 8, 8))), "images are of type float64"),
        (lambda run: run.normalise(np.zeros((1, 8, 8))), "images are of type float64"),
        (lambda run: run.classifier("mian"), "unknown prediction rule 'mian'"),
        (lambda run: run.export("onxx"), "unknown form 'onxx'"),
    ],
)
def test_mistakes_with_a_run_are_one_error(run, call, message):
    Path("broken.png").write_text("no image")
    with pytest.raises(UserError, match=message) as caught:
        call(run)
    assert_is_shown_alone(caught.value)


def test_the_message_is_that_of_the_command(tmp_path):
    with pytest.raises(UserError) as caught:
        train(method="gce", criterion_q=3)
    assert command(tmp_path, "method=gce", "criterion.q=3").err.startswith(f"error: {caught.value}\n")


def test_a_class_within_a_function_is_refused():
    class Mine:
        pass

    with pytest.raises(UserError, match="defined within a function"):
        train(criterion={"_target_": Mine})


def state_of_the_process():
    root = logging.getLogger()
    names = ("alasca_pl", "lightning.pytorch", "lightning.fabric", "matplotlib")
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "known of signals": dict(vars(interrupts._state)),
        "handlers": list(root.handlers),
        "levels": [root.level, *(logging.getLogger(name).level for name in names)],
        "own handlers": list(logging.getLogger("alasca_pl").handlers),
        "records": logging.getLogRecordFactory(),
        "warnings": list(warnings.filters),
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "backend": matplotlib.get_backend(),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg, getbase()),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
    }


def test_same_bits_as_the_command_and_the_process_is_left_as_it_was(tmp_path):
    words = ["data.max_train_samples=64", "model.backbone.width=4", "callbacks=quiet", "epochs=2", "seed=3"]
    done = command(
        tmp_path, "method=elr", "trainer.deterministic=true", "threads=1", *words, "hydra.run.dir=typed", draws=True
    )
    assert done.code == 0, done.err
    # Values that a fresh process does not have.
    with (
        mock.patch.dict(os.environ, {"PL_GLOBAL_SEED": "11"}),
        initialize_config_dir(str(in_python.CONF_DIR), version_base="1.2"),
        torch.no_grad(),
    ):
        HydraConfig.instance().set_config(compose("train", return_hydra_config=True))
        handler = signal.signal(signal.SIGTERM, lambda number, frame: None)
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        try:
            before = state_of_the_process()

            async def within_a_loop():
                return train(
                    method="elr", trainer_deterministic=True, threads=1, folder="called", **TINY | {"epochs": 2}, seed=3
                )

            run = asyncio.run(within_a_loop())
            after = state_of_the_process()
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_num_threads(1)
            signal.signal(signal.SIGTERM, handler)
            HydraConfig.instance().cfg = None
    assert [name for name in before if before[name] != after[name]] == []
    typed, called = checkpoint(tmp_path / "typed"), checkpoint(tmp_path / "called")
    for name in ("state_dict", "optimizer_states"):
        assert_same_bits(typed[name], called[name])
    assert (tmp_path / "typed/metrics.csv").read_bytes() == (tmp_path / "called/metrics.csv").read_bytes()
    one, other = load_run("typed"), load_run("called")
    assert one.record.digest == other.record.digest and one.record.constants == other.record.constants
    assert {file.name for file in Path("typed").iterdir()} == {file.name for file in Path("called").iterdir()}
    # What load_run gives, with the figures of the record and of the file.
    with Path("called/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(run.history) == len(rows) == 2
    assert run.metrics["last"]["test/acc"] == float(rows[-1]["test/acc"])
    assert_same_bits(run.module.state_dict(), other.module.state_dict())
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert len(run.predict(images).label) == 2
    assert len(repr(run)) < 200 and "elr" in repr(run) and "digits" in repr(run)
    with pytest.raises(UserError, match="already holds a finished run"):
        train(method="elr", folder="called", **TINY)


OWN = """
import torch.nn.functional as F
from alasca_pl.core.parts import Criterion

class Mine(Criterion):
    def forward(self, logits, targets, progress):
        return F.cross_entropy(logits, targets.label[0], reduction="none")
"""


def test_twice_in_a_process_with_groups_of_ones_own_and_then_on(tmp_path, capsys):
    Path("own_loss.py").write_text(OWN)
    Path("mine/method").mkdir(parents=True)
    Path("mine/method/mine.yaml").write_text("# @package _global_\ncriterion:\n  _target_: own_loss.Mine\n")
    options = {name: value for name, value in TINY.items() if name != "callbacks"}
    handlers = logging.getLogger().handlers[:]
    try:
        # pytest's own stand for those of a caller.
        logging.getLogger().handlers.clear()
        first, second = (train(method="mine", alasca="none", config_dir="mine", **options) for _ in range(2))
    finally:
        logging.getLogger().handlers[:] = handlers
    assert first.folder != second.folder and first.folder.parent.parent == tmp_path / "runs"
    assert_same_bits(first.module.state_dict(), second.module.state_dict())
    # Once each, and the same lines in the file.
    shown = capsys.readouterr().out
    assert shown.count("epoch 1/1") == 2
    kept = (first.folder / "train.log").read_text()
    assert "epoch 1/1" in kept and kept in shown
    assert first.record.config_dirs == ["--config-dir", str(tmp_path / "mine")]
    with pytest.raises(UserError, match=r"--config-dir again, or.*trust=true"):
        train(ckpt_path=first.folder, epochs=2)
    more = train(ckpt_path=first.folder, epochs=2, trust=True)
    assert more.folder == first.folder and len(more.history) == 2


def test_a_strategy_that_would_run_the_program_again_is_refused(tmp_path):
    with pytest.raises(UserError, match="alasca-train"):
        train("trainer=ddp", "trainer.accelerator=cpu", folder="run", **TINY)
    assert list(tmp_path.iterdir()) == []


STOPPED = """
import signal, sys, os
import lightning as L
import alasca_pl

class Stop(L.Callback):
    def on_train_batch_end(self, trainer, *rest):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    before = signal.getsignal(signal.SIGINT)
    try:
        alasca_pl.train(epochs=3, data_max_train_samples=64, folder="run", **{"+callbacks.stop": {"_target_": Stop}})
    except KeyboardInterrupt:
        print("stopped", signal.getsignal(signal.SIGINT) is before)
"""


def test_it_can_be_stopped(tmp_path):
    Path("program.py").write_text(STOPPED)
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "stopped True", done.stderr
    assert "interrupted; go on with alasca-train ckpt_path=" in done.stderr
    assert load_run("run", trust=True).record.status == "interrupted"


def test_public_names():
    assert sorted(dir(alasca_pl)) == sorted(alasca_pl.__all__)
    assert all(getattr(alasca_pl, name) is not None for name in alasca_pl.__all__)
    code = "import sys, alasca_pl; dir(alasca_pl); print(sorted({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
