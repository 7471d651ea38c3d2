"""Selections that leave a process with nothing, or all processes, or give everything to one."""

import math
from itertools import product

import pytest

from running import SMALLER, TWO, checkpoint, distance, train

pytestmark = pytest.mark.timeout(60)
SIZE = (*SMALLER, "epochs=1", "trainer.precision=64-true", "optim.lr=0.005")
SELECTIONS = ("none", "first_half", "second_half", "last")


def fast_if(cases, *fast):
    return [pytest.param(*case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def selecting(which):
    return ("+selector._target_=running.PositionSelector", f"+selector.which={which}")


def state(folder):
    return checkpoint(folder)["state_dict"]


@pytest.mark.parametrize(
    ("which", "normalise"),
    fast_if(product(SELECTIONS, ("selected", "batch")), ("none", "selected"), ("first_half", "selected")),
)
def test_two_processes_equal_one_whatever_is_selected_where(tmp_path, which, normalise):
    overrides = (*SIZE, "method=elr", "alasca=paper", *selecting(which), f"+selector.normalise={normalise}")
    one, two = train(tmp_path / "one", *overrides), train(tmp_path / "two", *TWO, *overrides)
    assert distance(state(tmp_path / "one"), state(tmp_path / "two")) < 1e-12
    for name, value in one.metrics["last"].items():
        assert math.isfinite(value) and two.metrics["last"][name] == pytest.approx(value, abs=1e-9), name
    share = one.metrics["last"]["select/rate"]
    assert share == {"none": 0.0, "last": 1 / 32}.get(which, 0.5)


def test_nothing_selected_leaves_the_base_loss_out(tmp_path):
    """Without penalties and decay the weights then stay as they were, whatever the loss."""
    still = ("alasca=none", *selecting("none"), "optim.weight_decay=0")
    train(tmp_path / "elr", *SIZE, "method=elr", *still)
    train(tmp_path / "ce", *SIZE, "method=ce", *still, "optim.lr=1")
    weights = [{k: v for k, v in state(tmp_path / run).items() if ".networks." in k} for run in ("elr", "ce")]
    assert distance(*weights) == 0.0


@pytest.mark.parametrize(
    ("which", "mix"),
    fast_if(product([*SELECTIONS, "all"], ("all", "labelled")), ("none", "labelled"), ("first_half", "all")),
)
def test_semi_supervised_steps_take_whatever_each_process_has(tmp_path, which, mix):
    overrides = (*SIZE, "method=dividemix", "alasca=paper", "step.warmup_epochs=0", f"step.mix={mix}")
    overrides = (*overrides, "~selector", *selecting(which))
    record = train(tmp_path / "run", *TWO, *overrides)
    last = record.metrics["last"]
    assert record.status == "finished"
    assert all(math.isfinite(value) for value in last.values())
    assert last["select/rate"] == {"none": 0.0, "last": 1 / 32, "all": 1.0}.get(which, 0.5)
