"""Ctrl-C and SIGTERM, by one rule in every phase: finish what is being written, say how to go on, end with 130 or 143."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys

import lightning as L
import pytest
import torch

from alasca_pl.core import interrupts
from alasca_pl.core.files import write_atomically
from alasca_pl.core.folder_lock import FolderLock
from alasca_pl.runs import prepared as runs_prepared
from alasca_pl.runs import training_run as runs
from alasca_pl.training.callbacks import checkpoints
from running import TINY, assert_same_bits, checkpoint, command, timed

pytestmark = timed

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def _tell(told):
    os.kill(os.getpid(), told)


class Teller(L.Callback):
    """Sends this process a signal in a hook, once.

    Args:
        hook: Name of the hook.
        told: Number of the signal.
        epoch: In this epoch.
    """

    def __init__(self, hook: str, told: int, epoch: int = 0) -> None:
        self.epoch, self.told = epoch, told
        setattr(self, hook, self._hook)

    def _hook(self, trainer, *args, **kwargs) -> None:
        if trainer.current_epoch >= self.epoch and self.told:
            told, self.told = self.told, 0
            _tell(told)


def _teller(hook, told, epoch=0):
    return f"+callbacks.teller={{_target_: {__name__}.Teller, hook: {hook}, told: {int(told)}, epoch: {epoch}}}"


def _before(function, told):
    """The function, but the signal comes before it does its work, the first time only."""
    waiting = [told]

    def told_first(*args, **kwargs):
        if waiting:
            _tell(waiting.pop())
        return function(*args, **kwargs)

    return told_first


def _run(tmp_path, *overrides):
    # Drawing curves takes longer than such a run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alasca_pl.report.curves.plot_curves", lambda *args: None)
        return command(tmp_path, *TINY, "data.max_train_samples=64", *overrides, "hydra.run.dir=run")


def _status(tmp_path):
    return json.loads((tmp_path / "run" / "record.json").read_text())["status"]


def _advised(outcome):
    """Arguments of the command that a run that was told to stop advises."""
    line = next(line for line in outcome.err.splitlines() if line.startswith("interrupted; "))
    return shlex.split(line.removeprefix("interrupted; go on with alasca-train "))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert _run(folder).code == 0
    return folder / "run"


def _assert_equal(killed, whole):
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
        assert_same_bits(checkpoint(killed)[part], checkpoint(whole)[part])


@pytest.mark.parametrize("told", SIGNALS)
@pytest.mark.parametrize("function", ["build_data", "build_module", "build_trainer"])
def test_before_training_nothing_is_kept(tmp_path, monkeypatch, function, told):
    monkeypatch.setattr(runs_prepared, function, _before(getattr(runs_prepared, function), told))
    outcome = _run(tmp_path)
    assert outcome.code == STATUS[told], outcome
    assert outcome.err.strip().endswith("interrupted; nothing has to be kept; the same command starts again")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ("setup", signal.SIGTERM),
        ("on_fit_start", signal.SIGINT),
        ("on_train_start", signal.SIGTERM),
        ("on_train_batch_start", signal.SIGINT),
        ("on_train_batch_end", signal.SIGTERM),
        pytest.param("setup", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("on_train_batch_start", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_before_the_first_checkpoint_the_same_command_starts_again(tmp_path, whole, hook, told):
    outcome = _run(tmp_path, _teller(hook, told))
    assert outcome.code == STATUS[told], outcome
    assert "interrupted; there is no checkpoint yet; the same command starts the run again" in outcome.err
    assert _status(tmp_path) == "interrupted"
    again = _run(tmp_path, _teller(hook, 0))
    assert again.code == 0, again
    assert _status(tmp_path) == "finished"
    _assert_equal(tmp_path / "run", whole)


@pytest.mark.parametrize("told", SIGNALS)
def test_while_the_first_record_is_written(tmp_path, monkeypatch, told):
    monkeypatch.setattr(runs, "write_atomically", _before(runs.write_atomically, told))
    outcome = _run(tmp_path)
    assert outcome.code == STATUS[told], outcome
    assert "interrupted; there is no checkpoint yet; the same command starts the run again" in outcome.err
    assert _status(tmp_path) == "interrupted"


@pytest.mark.parametrize(
    ("hook", "epoch", "told"),
    [
        ("on_train_batch_end", 1, signal.SIGINT),
        ("on_validation_batch_start", 1, signal.SIGTERM),
        ("on_train_end", 2, signal.SIGINT),
        ("teardown", 2, signal.SIGTERM),
        pytest.param("on_train_epoch_end", 1, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("on_validation_batch_start", 1, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("on_train_end", 2, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("on_fit_end", 2, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_after_a_checkpoint_the_advice_leads_to_the_same_end(tmp_path, whole, hook, epoch, told):
    """Also after the last epoch, where there is little left to do."""
    outcome = _run(tmp_path, _teller(hook, told, epoch))
    assert outcome.code == STATUS[told], outcome
    assert _status(tmp_path) == "interrupted"
    again = command(tmp_path, *_advised(outcome), "callbacks.teller.told=0")
    assert again.code == 0, again
    assert _status(tmp_path) == "finished"
    _assert_equal(tmp_path / "run", whole)


@pytest.mark.parametrize("told", SIGNALS)
def test_a_checkpoint_that_is_being_written_is_finished(tmp_path, monkeypatch, whole, told):
    monkeypatch.setattr(checkpoints.torch, "save", _before(torch.save, told))
    outcome = _run(tmp_path)
    assert outcome.code == STATUS[told], outcome
    kept = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    # Which of the two is written first makes no difference.
    assert len(kept) == 1 and kept[0] in ("best.ckpt", "last.ckpt"), kept
    again = command(tmp_path, *_advised(outcome)) if "last.ckpt" in kept else _run(tmp_path)
    assert again.code == 0, again
    _assert_equal(tmp_path / "run", whole)


@pytest.mark.parametrize("told", SIGNALS)
@pytest.mark.parametrize("function", ["_duration", "summarise"])
def test_a_run_that_has_ended_says_that_it_is_finished(tmp_path, monkeypatch, function, told):
    monkeypatch.setattr(runs, function, _before(getattr(runs, function), told))
    outcome = _run(tmp_path)
    assert outcome.code == STATUS[told], outcome
    assert f"interrupted; the run is finished: {tmp_path}/run" in outcome.err
    assert _status(tmp_path) == "finished"
    assert json.loads((tmp_path / "run" / "record.json").read_text())["metrics"]


def test_another_command_does_not_start_over_an_interrupted_run(tmp_path):
    assert _run(tmp_path, _teller("on_train_batch_start", signal.SIGINT)).code == 130
    refused = _run(tmp_path, "optim.lr=0.5")
    assert refused.code == 1
    assert "already holds a run with status 'interrupted'" in refused.err
    assert _status(tmp_path) == "interrupted"


@pytest.mark.parametrize("more", [0, 3])
def test_a_finished_run_is_not_spoilt_by_too_few_epochs(tmp_path, whole, more):
    """With trainer.max_epochs instead of epochs it failed within Lightning, and its record said so ever after."""
    before = (whole / "record.json").read_bytes()
    outcome = command(tmp_path, f"ckpt_path={whole}/checkpoints/last.ckpt", f"trainer.max_epochs={more or 1}")
    assert outcome.code == 1
    assert f"epochs={more or 1} asks for no more" in outcome.err
    assert (whole / "record.json").read_bytes() == before


@pytest.mark.parametrize("resumed", [False, True])
def test_of_two_runs_in_one_folder_the_second_is_told(tmp_path, whole, resumed):
    folder = whole if resumed else tmp_path / "run"
    lock = FolderLock(folder, ".lock")
    lock.acquire()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    goes_on = [f"ckpt_path={whole}/checkpoints/last.ckpt", "epochs=5"]
    outcome = command(tmp_path, *(goes_on if resumed else [*TINY, "hydra.run.dir=run"]))
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lock.release()
    assert outcome.code == 1
    assert outcome.err.count("is in use by") == 1 and len(outcome.err.splitlines()) <= 4
    assert before == after


@pytest.mark.parametrize(
    "overrides",
    [["noise.rate=1.5"], ["data.batch_size=5000"], ["data=cifar10", "data.root=nowhere", "data.download=false"]],
)
@pytest.mark.parametrize("folder", [[], ["hydra.run.dir=a/b/c"]])
def test_a_refused_start_leaves_nothing(tmp_path, overrides, folder):
    assert command(tmp_path, *TINY, *overrides, *folder).code == 1
    assert list(tmp_path.iterdir()) == []


def test_files_are_whole_when_the_signal_is_heeded(tmp_path):
    interrupts.install()
    try:

        def write(file):
            file.write(b"half")
            _tell(signal.SIGTERM)
            file.write(b" whole")

        with pytest.raises(interrupts.Interrupted) as stop:
            write_atomically(tmp_path / "file", write)
    finally:
        interrupts.uninstall()
    assert stop.value.status == 143
    assert (tmp_path / "file").read_bytes() == b"half whole"


def test_an_interrupt_lost_in_a_destructor_is_found_again(tmp_path):
    interrupts.install()
    try:
        with interrupts.postponed():
            pass
        with contextlib.suppress(interrupts.Interrupted):
            _tell(signal.SIGINT)
        with pytest.raises(interrupts.Interrupted):
            interrupts.check()
    finally:
        interrupts.uninstall()


# Starts the command and sends the signal when a module is about to be imported.
WHILE_IMPORTING = """
import os, sys
class Teller:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {told})
sys.meta_path.insert(0, Teller())
from alasca_pl.cli import train
train()
"""


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("hydra", signal.SIGINT),
        ("lightning", signal.SIGTERM),
        pytest.param("torch", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_while_libraries_load_the_message_is_the_same(tmp_path, module, told):
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IMPORTING.format(module=module, told=int(told))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == STATUS[told], done
    assert "Traceback" not in done.stderr
    assert "interrupted; nothing has to be kept; the same command starts again" in done.stderr
    assert list(tmp_path.iterdir()) == []
