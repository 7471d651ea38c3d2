"""Composing and running small runs inside tests."""

import contextlib
import io
import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl import cli
from alasca_pl import run as runs
from alasca_pl.cli import CONF_DIR

# A network without batch norm, so that one process and several see the same; a batch size that leaves a rest of 12.
TINY = (
    "epochs=3",
    "data.max_train_samples=300",
    "data.batch_size=32",
    "model.backbone.width=4",
    "model.norm=group",
    "callbacks=quiet",
)


def config_for(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", overrides=[*TINY, *overrides])
    return OmegaConf.to_container(config, resolve=True)


def train(folder: Path, *overrides: str) -> dict[str, Any]:
    """Train in this process and return the record."""
    return runs.train(runs.prepare(config_for(*overrides), folder, {}))


class KillAt(L.Callback):
    """Kills the process as the kernel would for want of memory: no handler runs, nothing is written any more."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def _train_and_die(config: dict[str, Any], folder: Path, step: int) -> None:
    torch.set_num_threads(1)
    run = runs.prepare(config, folder, {})
    run.trainer.callbacks.insert(0, KillAt(step))
    runs.train(run)


def train_killed(folder: Path, step: int, *overrides: str) -> None:
    """Train in a child that is killed at a global step; returns when it is dead."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_train_and_die, args=(config_for(*overrides), folder, step))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, f"the child ended with {child.exitcode} instead of being killed"


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def tensors(state: Any, prefix: str = "") -> dict[str, Any]:
    """All leaves of nested containers by path."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in tensors(value, f"{prefix}/{key}").items()}
    if isinstance(state, list | tuple):
        return {k: v for key, value in enumerate(state) for k, v in tensors(value, f"{prefix}/{key}").items()}
    return {prefix: state}


def assert_same_bits(one: Any, other: Any) -> None:
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, f"{name} differs"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def command(folder: Path, *arguments: str, entry: str = "train") -> Outcome:
    """Run a command in this process, as if it were typed in a folder."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    code = 0
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(os.environ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [f"alasca-{entry}", *arguments])
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                getattr(cli, entry)()
        except SystemExit as stop:
            code = stop.code
        finally:
            # Hydra puts handlers of its own in place, which write to the streams above.
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
    return Outcome(code, out.getvalue(), err.getvalue())
