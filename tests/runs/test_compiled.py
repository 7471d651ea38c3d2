"""Runs whose networks are compiled: every kind of method trains, results stay, and nothing is compiled again."""

import functools
import shutil

import lightning as L
import pytest
import torch

from alasca_pl.build import module as building
from alasca_pl.core.errors import UserError
from alasca_pl.models.network import Network
from alasca_pl.runs import training_run as runs
from facts import one_of_each_kind
from running import SMALLER, assert_same_bits, checkpoint, config_for, distance, method_overrides, slow_unless, train

FAST = ("ce", "dividemix", "har")
# What is captured is a network's pass, and which passes there are depends on slots, step and number of networks.
KINDS = sorted({*FAST, *one_of_each_kind()})


@pytest.fixture(autouse=True)
def nothing_is_captured_yet():
    """Captured code is kept per process, and only so much of it."""
    torch._dynamo.reset()


class _Counter(L.Callback):
    """How often something was compiled up to the end of each step."""

    def __init__(self, compiled: list[int]) -> None:
        self.compiled, self.after = compiled, []

    def on_train_batch_end(self, *_) -> None:
        self.after.append(len(self.compiled))


@pytest.mark.parametrize("method", slow_unless(FAST, KINDS))
def test_every_kind_of_method_trains_to_the_same_bits_by_captured_code_and_captures_no_more_in_the_last_epoch(
    tmp_path, monkeypatch, method
):
    compiled: list[int] = []

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(Network, "compile_for", functools.partialmethod(Network.compile_for, backend=backend))
    options = (*SMALLER, *method_overrides(method, "paper"))
    train(tmp_path / "plain", *options)
    run = runs.prepare(config_for(*options, "model.compile=true"), tmp_path / "compiled", {})
    counter = _Counter(compiled)
    run.trainer.callbacks.append(counter)
    runs.train(run)
    one, other = checkpoint(tmp_path / "plain")["state_dict"], checkpoint(tmp_path / "compiled")["state_dict"]
    assert_same_bits(one, other)
    steps = len(counter.after) // 3
    assert counter.after[-1] == counter.after[-steps - 1]
    assert 0 < len(compiled) <= 3 or method == "har"


@pytest.mark.slow
@pytest.mark.timeout(1200)  # the compiler takes minutes where others use the processor, too
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler")
@pytest.mark.parametrize("method", ["ce", "co_teaching"])
def test_ten_compiled_steps_differ_by_rounding(tmp_path, method):
    options = (
        "epochs=1",
        "data.max_train_samples=320",
        "trainer.precision=32-true",
        *method_overrides(method, "paper"),
    )
    train(tmp_path / "plain", *options)
    train(tmp_path / "compiled", *options, "model.compile=true")
    one, other = checkpoint(tmp_path / "plain")["state_dict"], checkpoint(tmp_path / "compiled")["state_dict"]
    assert 0 < distance(one, other) < 1e-2


def test_without_a_compiler_a_run_is_refused_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"model\.compile=true needs a C\+\+ compiler"):
        runs.prepare(config_for(*SMALLER, "model.compile=true"), tmp_path / "run", {})
    assert not (tmp_path / "run").exists()
