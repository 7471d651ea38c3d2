"""Composing and running small runs inside tests."""

import contextlib
import copy
import functools
import io
import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import lightning as L
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from alasca_pl import cli
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.core import interrupts
from alasca_pl.core.distributed import gather_with_places
from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.types import Progress, Targets
from alasca_pl.runs import training_run as runs
from facts import parts_of

# A network without batch norm, so that one process and several see the same; a batch size that leaves a rest of 12.
TINY = (
    "epochs=3",
    "data.max_train_samples=300",
    "data.batch_size=32",
    "model.backbone.width=4",
    "model.norm=group",
    "callbacks=quiet",
)


# 4 steps an epoch instead of 10, where only bits are compared.
SMALLER = ("epochs=3", "data.max_train_samples=128")

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp_fork")

# Schedules shortened so that every phase of a method happens within three epochs, the first scan before the second one.
# A method whose config has a schedule must be here, see ``scheduled``.
PHASES: dict[str, tuple[str, ...]] = {
    "als": ("criterion.ramp_epochs=2",),
    "als_ema": ("criterion.ramp_epochs=2",),
    # What hardly trained networks predict gives no matrix that can be inverted.
    "backward": (
        f"criterion.matrix={[[0.82 if i == j else 0.02 for j in range(10)] for i in range(10)]}".replace(" ", ""),
    ),
    "cdr": ("gradient_transform.noise_rate=estimated", "gradient_transform.estimate_epoch=1"),
    "co_teaching": ("selector.noise_rate=estimated", "selector.estimate_epoch=1", "selector.ramp_epochs=1"),
    "co_teaching_plus": (
        "selector.noise_rate=estimated",
        "selector.estimate_epoch=1",
        "selector.ramp_epochs=1",
        "selector.start_epoch=1",
        # Networks that have hardly learned anything agree on everything.
        "selector.agreed_steps=1000",
    ),
    "cores2": ("criterion.start_epoch=1", "criterion.ramp_epochs=4", "selector.start_epoch=1"),
    "crust": ("selector.warmup_epochs=1", "mixer.start_epoch=1"),
    "disc": ("selector.momentum=0.2", "step.warmup_epochs=0"),
    "dividemix": ("selector.warmup_epochs=1", "selector.memory_epochs=2", "step.ramp_epochs=1"),
    "elr_plus": ("criterion.coef_step=15", "criterion.sharpen_labels=true", "teacher.ramp_steps=20"),
    "dual_t": ("criterion.estimate_epoch=1",),
    "forward": ("criterion.estimate_epoch=1",),
    "f_coteaching": ("selector.warmup_epochs=1", "selector.every=1"),
    "fine": ("selector.warmup_epochs=1", "selector.every=1"),
    "gce": ("criterion.truncate_below=0.5", "criterion.truncate_from=1"),
    "neighbours": ("selector.warmup_epochs=1", "selector.every=1"),
    "promix": ("selector.warmup_epochs=1", "step.ramp_epochs=1", "step.agreement_epochs=2", "step.unreliable_epochs=9"),
    # Without weights from elsewhere.
    "simifeat": ("selector.encoder.name=test_resnet", "selector.encoder.pretrained=false", "selector.encoder.size=32"),
    "pes": (
        "phases.refine_last_stage.start=1",
        "phases.refine_head=null",
        "phases.select.start=2",
        "selector.start_epoch=1",
    ),
    "pes_semi": ("phases.refine_head.start=1", "phases.select.start=2", "selector.start_epoch=1", "step.ramp_epochs=1"),
    "jocor": ("selector.noise_rate=estimated", "selector.estimate_epoch=1", "selector.ramp_epochs=1"),
    "nls": ("criterion.warmup_epochs=1",),
    "peer_loss": ("criterion.warmup_epochs=1",),
    "unicon": ("selector.warmup_epochs=1", "step.ramp_epochs=1"),
    # Closer to the identity, so that networks learn something in a few steps.
    "volminnet": ("criterion.start=-4", "criterion.lr=0.1"),
    # Noise terms that begin near 0 must grow within three visits.
    "sop": ("criterion.lr_u=5000", "criterion.lr_v=5000"),
    "t_revision": ("criterion.estimate_epoch=1", "criterion.revise_epoch=2"),
}
_ALASCA = {"paper": ("regularizers.alasca.ramp_epochs=2",)}


_SCHEDULE = re.compile(r"(epochs?|steps?|_step|_from|every)$")


def scheduled(node: Any) -> list[str]:
    """Names of values at any depth of a method's slots that say when something begins or how long it takes."""
    if not isinstance(node, dict):
        return []
    inner = [name for value in node.values() for name in scheduled(value)]
    # A ramp of 0 steps and a part that is switched off have no schedule.
    return inner + [
        key for key, value in node.items() if _SCHEDULE.search(str(key)) and isinstance(value, int) and value
    ]


def method_overrides(method: str, alasca: str = "none") -> tuple[str, ...]:
    """Choose a method, of any name, and a variant of ALASCA with the schedules of a tiny run.

    Raises:
        AssertionError: If the method has a schedule and nobody said how a tiny run shortens it: such a run would pass
            every test without the method having acted.
    """
    schedule = scheduled(parts_of(method))
    assert method in PHASES or not schedule, f"say in PHASES how a tiny run of {method} shortens {', '.join(schedule)}"
    return (f"method={method}", f"alasca={alasca}", *PHASES.get(method, ()), *_ALASCA.get(alasca, ()))


def at_once(method: str) -> tuple[str, ...]:
    """Let a method act before the very first epoch, for runs of one epoch: what ``PHASES`` puts at epoch 1 begins at 0."""
    starts = (re.fullmatch(r"(\S*(?:epochs?|_from))=1", option) for option in PHASES.get(method, ()))
    return tuple(f"{start[1]}=0" for start in starts if start)


# Tests that start commands and hit them at certain moments: one at a time, whatever runs beside it (``--dist loadgroup``).
timed = pytest.mark.xdist_group("timed")

# Storms at random are as large as docs/reliability.md tells with this variable, else as large as each change can afford.
FULL_STORMS = os.environ.get("ALASCA_STORMS") == "full"


def slow_unless(fast: Collection[str], names: Iterable[str]) -> list[Any]:
    """Parameters for pytest of which only some belong to the fast tests."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@functools.cache
def _config_for(overrides: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose_config("train", [*TINY, *overrides]).config
    return OmegaConf.to_container(config, resolve=True)


def config_for(*overrides: str) -> dict[str, Any]:
    return copy.deepcopy(_config_for(overrides))


def train(folder: Path, *overrides: str) -> dict[str, Any]:
    """Train in this process and return the record."""
    # Drawing curves takes longer than such a run.
    with mock.patch("alasca_pl.report.curves.plot_curves"):
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


def distance(one: Any, other: Any) -> float:
    """Largest difference between any numbers of two states with the same entries; infinity if anything else differs."""
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    largest = 0.0
    for name, value in left.items():
        theirs = right[name]
        if isinstance(value, torch.Tensor) and value.shape == theirs.shape and value.numel():
            largest = max(largest, (value.double() - theirs.double()).abs().max().item())
        elif isinstance(value, float) and isinstance(theirs, float):
            largest = max(largest, abs(value - theirs))
        elif not isinstance(value, torch.Tensor) and value != theirs:
            largest = float("inf")
    return largest


class PositionSelector(SampleSelector):
    """Selects by position in the global batch, so that processes can be left with nothing.

    Args:
        which: ``none``, ``all``, ``first_half`` (the part of the first of two processes), ``second_half``, or ``last`` for
            the very last sample.
        num_networks: M.
        normalise: See ``SampleSelector``.
    """

    def __init__(self, which: str, num_networks: int, normalise: str = "selected") -> None:
        super().__init__()
        self.which = which
        self.num_networks = num_networks
        self.normalise = normalise  # type: ignore[assignment]

    def clean_probability(self, index: Tensor) -> Tensor:
        """What ``MixMatchStep`` asks for."""
        return torch.full((self.num_networks, *index.shape), 0.5, device=index.device)

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        own, everyone = gather_with_places(targets.index[0])
        half = (len(everyone) + 1) // 2
        start, stop = {
            "none": (0, 0),
            "all": (0, len(everyone)),
            "first_half": (0, half),
            "second_half": (half, len(everyone)),
            "last": (len(everyone) - 1, len(everyone)),
        }[self.which]
        return ((own >= start) & (own < stop)).to(losses.dtype).expand_as(losses)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def command(folder: Path, *arguments: str, entry: str = "train", draws: bool = False) -> Outcome:
    """Run a command in this process, as if it were typed in a folder.

    Args:
        folder: Where it is typed.
        arguments: Its arguments.
        entry: Its name after ``alasca-``.
        draws: Whether a run draws its curves, which takes a third of the time of a small one.
    """
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    code = 0
    undrawn = contextlib.nullcontext() if draws else mock.patch("alasca_pl.report.curves.plot_curves")
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(os.environ), undrawn:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [f"alasca-{entry}", *arguments])
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                getattr(cli, entry)()
        except SystemExit as stop:
            code = stop.code
        finally:
            interrupts.uninstall()
            # Hydra puts handlers of its own in place, which write to the streams above.
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
    return Outcome(code, out.getvalue(), err.getvalue())
