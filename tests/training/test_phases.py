"""Phases: what is frozen, renewed and observed in whole runs, and by which optimiser and rate."""

import functools

import pytest
import torch

from alasca_pl.build.module import build_module
from alasca_pl.build.networks import renewed_network
from alasca_pl.core.checkpoint import facts_of
from alasca_pl.core.errors import UserError
from alasca_pl.core.types import DataFacts
from alasca_pl.training.phases import Phase, in_order, phase_at, scheduled_epochs
from facts import SLOTS
from running import SMALLER, checkpoint, config_for, method_overrides, train

ADAM = functools.partial(torch.optim.Adam, lr=1e-4)
REFINE = (
    *SMALLER,
    *method_overrides("ce", "paper"),
    "+phases.refine._target_=alasca_pl.training.phases.Phase",
    "+phases.refine.start=1",
    "+phases.refine.renew=[last_stage,head]",
    "+phases.refine.train=[last_stage,head]",
    "+phases.refine.optimizer={_target_:torch.optim.Adam,_partial_:true,lr:1e-3}",
    "+phases.refine.observe=false",
    "+phases.rest._target_=alasca_pl.training.phases.Phase",
    "+phases.rest.start=2",
    "optim.milestones=[1]",
)
RENEWED = ("backbone.stages.2", "head.")


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Checkpoints of one run after each of its three epochs: as it begins, refinement, as it began."""
    folder = tmp_path_factory.mktemp("phases")
    for epochs in (1, 2, 3):
        train(folder / str(epochs), *REFINE, f"epochs={epochs}")
    return [checkpoint(folder / str(epochs)) for epochs in (1, 2, 3)]


def weights(state, names=None, without=()):
    prefix = "method.networks.0."
    found = {key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)}
    return {k: v for k, v in found.items() if (names is None or k.startswith(names)) and not k.startswith(without)}


def test_frozen_parts_keep_their_bits_and_renewed_ones_are_trained(states):
    before, refined, after = states
    kept, later = (weights(state, without=RENEWED) for state in (before, refined))
    assert any(name.startswith("aux_heads") for name in kept)
    assert all(torch.equal(value, later[name]) for name, value in kept.items())
    fresh = renewed_network(config_for(*REFINE), facts_of(refined), True, 0, 1).state_dict()
    for name, value in weights(refined, RENEWED).items():
        assert not torch.equal(value, weights(before)[name]), name
        # Four steps of Adam with a rate of 1e-3 from the new weights.
        assert 0.0 < (value - fresh[name]).abs().max() <= 4.1e-3, name
    moved = weights(after)
    assert not any(torch.equal(value, moved[name]) for name, value in weights(refined).items())


def test_each_phase_has_an_optimizer_made_anew(states):
    before, refined, after = (state["optimizer_states"][0] for state in states)
    assert before["param_groups"][0]["momentum"] == 0.9
    assert refined["param_groups"][0]["lr"] == 1e-3
    # Adam counts the steps of what is trained; nothing else has a state.
    assert {float(one["step"]) for one in refined["state"].values()} == {4.0}
    assert len(refined["state"]) < len(refined["param_groups"][0]["params"]) == len(before["state"])
    # The schedule has passed one epoch before and one after: its milestone is behind.
    assert len(states[1]["lr_schedulers"]) == 0
    assert after["param_groups"][0]["lr"] == pytest.approx(0.05 * 0.1, rel=0.5)
    assert states[2]["lr_schedulers"][0]["last_epoch"] in (1, 2)


def test_tables_rest_where_the_phase_does_not_observe(states):
    before, refined, after = ([v for k, v in s["state_dict"].items() if "regularizers" in k] for s in states)
    rows = [
        next(each["rows"] for each in one if isinstance(each, dict) and "rows" in each)
        for one in (before, refined, after)
    ]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[1], rows[2])


def test_new_weights_depend_on_seed_network_and_phase_only():
    config = config_for(*REFINE)
    made = build_module(config, facts_for())
    plain = config_for(*(each for each in REFINE if not each.startswith(("alasca=", "regularizers."))), "alasca=none")
    one = renewed_network(config, facts_for(), True, 0, 1)
    for other, same in (
        (renewed_network(plain, facts_for(), False, 0, 1), True),
        (renewed_network(config, facts_for(), True, 1, 1), False),
        (renewed_network(config, facts_for(), True, 0, 2), False),
        (renewed_network(config_for(*REFINE, "seed=1"), facts_for(), True, 0, 1), False),
        (made.method.networks[0], False),
    ):
        assert torch.equal(one.head.weight, other.head.weight) == same


def facts_for():
    return DataFacts("digits", 10, 128, (1, 8, 8), "", tuple("0123456789"), (0.5,), (0.5,), class_counts=(13,) * 10)


def test_the_run_s_schedule_stands_still_in_phases_of_their_own_optimizer():
    phases = in_order([Phase(37), Phase(25, optimizer=ADAM), Phase(32, train=["head"], optimizer=ADAM), Phase(50)])
    assert [phase.start for phase in phases] == [25, 32, 37, 50]
    passed = {epoch: scheduled_epochs(phases, epoch) for epoch in (0, 24, 25, 32, 36, 37, 49, 50, 90)}
    assert passed == {0: 0, 24: 0, 25: 25, 32: 25, 36: 25, 37: 25, 49: 25, 50: 38, 90: 38}
    assert [phase_at(phases, epoch) for epoch in (24, 25, 36, 90)] == [None, phases[0], phases[1], phases[3]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": 0}, "start must be .* got 0"),
        ({"start": 3, "train": []}, "train names nothing"),
        ({"start": 3, "scheduler": ADAM}, "needs an optimizer of its own"),
    ],
)
def test_values_that_do_not_fit_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Phase(**values)


def test_two_phases_cannot_start_together():
    with pytest.raises(ValueError, match="two phases start at epoch 4"):
        in_order([Phase(4), Phase(4)])


def test_a_part_that_the_network_lacks_is_refused_before_training():
    config = config_for(*REFINE)
    config["phases"]["refine"]["renew"] = ["tail"]
    with pytest.raises(UserError, match=r"phases.refine.renew must be .*head"):
        build_module(config, facts_for())
    config["phases"]["refine"] |= {
        "renew": ["last_stage"],
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": -1.0},
    }
    with pytest.raises(UserError, match=r"phases\.refine\.optimizer\.lr"):
        build_module(config, facts_for())


def test_phases_are_a_slot_of_methods():
    assert "phases" in SLOTS
