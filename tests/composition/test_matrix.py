"""Every method with and without ALASCA, as whole runs: trains, is killed and goes on, by one process and by two."""

import math

import pytest
import torch

from alasca_pl import load_run
from facts import METHODS, networks_of, noise_rates, one_of_each_kind, parts_of
from running import (
    PHASES,
    SMALLER,
    TWO,
    assert_same_bits,
    at_once,
    checkpoint,
    distance,
    method_overrides,
    slow_unless,
    train,
    train_killed,
)

KINDS = one_of_each_kind()
# Each method with ALASCA, which brings tables, heads and a penalty to whatever the method has. Without it there is less: there
# one method of each kind, and elr for a table that is the criterion's own.
PAIRS = [(method, "paper") for method in METHODS] + [(method, "none") for method in sorted({*KINDS, "elr"})]
# 10 steps make an epoch; the first look at the training set is before step 10, and the kill leaves the checkpoint of
# step 12.
FIRST_LOOK, KILL, FOUND = 10, 15, 12
# What asks for looks at the training set, and so must have selected or estimated something by the end.
SELECTING = [method for method in METHODS if "selector" in parts_of(method)]
ESTIMATING = dict(noise_rates())
slow = pytest.mark.slow


def assert_whole(folder, record, epochs=3):
    assert record.status == "finished"
    last = record.metrics["last"]
    assert last["epoch"] == epochs - 1
    assert [name for name, value in last.items() if not math.isfinite(value)] == []
    values = checkpoint(folder)["state_dict"].items()
    assert [name for name, value in values if isinstance(value, torch.Tensor) and not value.isfinite().all()] == []


def assert_phases(folder, record, method):
    """The tiny run has come to where the method does what it is for."""
    assert record.inactive == {}
    if method in SELECTING:
        assert 0.0 < record.metrics["last"]["select/rate"] < 1.0
    if method in ESTIMATING:
        state = checkpoint(folder)["state_dict"][f"method.{ESTIMATING[method]}.estimate._extra_state"]
        assert state["epoch"] == 1 and 0.0 < state["rate"] < 1.0


def assert_resumes(tmp_path, *overrides, every=4, kill=KILL, found=FOUND):
    """Compare a run that ended with one that is killed and goes on."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    overrides = (*overrides, f"checkpoint.every_n_steps={every}")
    record = train(whole, *overrides)
    train_killed(killed, kill, *overrides)
    assert checkpoint(killed)["global_step"] == found
    train(killed, *overrides, f"ckpt_path={killed}/checkpoints/last.ckpt")
    mine, theirs = checkpoint(killed), checkpoint(whole)
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
        assert_same_bits(mine[part], theirs[part])
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    return record


@slow
@pytest.mark.parametrize(("method", "alasca"), PAIRS)
def test_trains_is_killed_and_goes_on_bit_for_bit(tmp_path, method, alasca):
    record = assert_resumes(tmp_path, *method_overrides(method, alasca))
    assert FIRST_LOOK < FOUND < KILL
    assert_whole(tmp_path / "whole", record)
    assert_phases(tmp_path / "whole", record, method)
    opened = load_run(tmp_path / "whole")
    assert_same_bits(opened.module.state_dict(), checkpoint(tmp_path / "whole")["state_dict"])


@slow
def test_a_table_that_two_networks_share_goes_on_and_is_the_same_on_two_processes(tmp_path):
    overrides = (*method_overrides("co_teaching", "paper"), "regularizers.alasca.shared_ema=true")
    assert_resumes(tmp_path / "kill", *overrides)
    for name, more in (("one", ()), ("two", TWO)):
        train(tmp_path / name, *overrides, *more, "trainer.precision=64-true", "optim.lr=0.005")
    assert distance(*(checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two"))) < 1e-12


@slow
@pytest.mark.parametrize("method", METHODS)
def test_trains_in_mixed_precision(tmp_path, method):
    overrides = (*SMALLER, *method_overrides(method, "paper"), "model.norm=batch", "trainer.precision=bf16-mixed")
    record = train(tmp_path / "run", *overrides)
    assert_whole(tmp_path / "run", record)
    assert_phases(tmp_path / "run", record, method)


@slow
@pytest.mark.parametrize(("method", "slot"), noise_rates())
def test_a_run_with_an_oracle_opens_without_its_data(tmp_path, method, slot):
    train(tmp_path / "run", *SMALLER, *method_overrides(method), f"{slot}.noise_rate=oracle")
    opened = load_run(tmp_path / "run")
    rate = getattr(opened.module.method, slot).noise_rate
    assert rate == opened.record.noise.realised_rate


@pytest.mark.parametrize(("method", "more"), [("dividemix", ()), ("crust", ("+data.subset_size=100",))])
def test_some_of_them_also_among_the_fast_tests(tmp_path, method, more):
    # 4 steps make an epoch here, or 3 with the subset: the checkpoint lies within an epoch, after its look.
    overrides = (*SMALLER, "epochs=5", *method_overrides(method, "paper"), *more)
    record = assert_resumes(tmp_path, *overrides, every=13, kill=14, found=13)
    assert_whole(tmp_path / "whole", record, epochs=5)
    assert_phases(tmp_path / "whole", record, method)


@pytest.mark.parametrize(
    ("method", "alasca"),
    [pytest.param(*pair, marks=() if pair == ("fine", "paper") else slow) for pair in PAIRS],
)
def test_two_processes_equal_one(tmp_path, method, alasca):
    """Up to the rounding of sums, which in double precision stays small over all phases.

    6 steps make an epoch; the last batch has 12 samples.
    """
    size = ("epochs=3", "data.max_train_samples=172")
    overrides = (*size, *method_overrides(method, alasca), "trainer.precision=64-true", "optim.lr=0.005")
    one, two = train(tmp_path / "one", *overrides), train(tmp_path / "two", *TWO, *overrides)
    assert_whole(tmp_path / "two", two)
    assert_phases(tmp_path / "two", two, method)
    assert (one.processes, two.processes) == (1, 2)
    states = [checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two")]
    assert states[0]["method.networks.0.head.weight"].dtype == torch.float64
    assert distance(*states) < 1e-12
    assert one.metrics["last"].keys() == two.metrics["last"].keys()
    for name, value in one.metrics["last"].items():
        assert two.metrics["last"][name] == pytest.approx(value, abs=1e-9), name


@slow
@pytest.mark.parametrize("method", KINDS)
def test_two_processes_equal_one_in_single_precision(tmp_path, method):
    """After four steps, before the first of which is a look; in double precision each method is compared.

    Rounding grows from step to step, and at any of them it may carry a number over the kink of a ReLU.
    """
    overrides = (*SMALLER, *method_overrides(method, "paper"), *at_once(method), "epochs=1", "optim.lr=0.005", "seed=1")
    record = train(tmp_path / "one", *overrides)
    train(tmp_path / "two", *TWO, *overrides)
    # Some cannot select before an epoch has ended.
    if method in SELECTING and at_once(method):
        assert record.metrics["last"]["select/rate"] < 1.0
    assert distance(*(checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two"))) < 1e-6


@slow
@pytest.mark.parametrize("method", sorted({*SELECTING, *ESTIMATING}))
def test_two_processes_go_on_where_they_were(tmp_path, method):
    overrides = (*TWO, *SMALLER, *method_overrides(method, "paper"))
    train(tmp_path / "whole", *overrides)
    train(tmp_path / "parts", *overrides, "epochs=2")
    train(tmp_path / "parts", *overrides, f"ckpt_path={tmp_path}/parts/checkpoints/last.ckpt")
    states = [checkpoint(tmp_path / name)["state_dict"] for name in ("whole", "parts")]
    assert_same_bits(*states)


@pytest.mark.parametrize("method", slow_unless(("fine",), [name for name in METHODS if networks_of(name) == 1]))
def test_methods_of_one_network_train_two(tmp_path, method):
    record = train(tmp_path / "run", *SMALLER, *method_overrides(method, "paper"), "num_networks=2")
    assert_whole(tmp_path / "run", record)
    last = record.metrics["last"]
    assert {"val/acc_network_0", "val/acc_network_1", "train/loss_base/0", "train/loss_base/1"} <= last.keys()
    # They start apart and stay so.
    states = checkpoint(tmp_path / "run")["state_dict"]
    weights = [states[f"method.networks.{number}.head.weight"] for number in range(2)]
    assert not torch.equal(*weights)
    # A truncated loss may have become one constant for all samples.
    if "truncate_below" not in parts_of(method)["criterion"]:
        assert last["train/loss_base/0"] != last["train/loss_base/1"]


def test_a_method_with_a_schedule_must_say_how_a_tiny_run_shortens_it(monkeypatch):
    """Otherwise its slow tests would pass although it never acted."""
    monkeypatch.delitem(PHASES, "fine")
    with pytest.raises(AssertionError, match="PHASES how a tiny run of fine shortens warmup_epochs, every"):
        method_overrides("fine")
    assert method_overrides("sce") == ("method=sce", "alasca=none")


def test_a_method_that_inherits_a_schedule_must_say_so_too(monkeypatch):
    monkeypatch.delitem(PHASES, "f_coteaching")
    with pytest.raises(AssertionError, match="a tiny run of f_coteaching shortens warmup_epochs, every"):
        method_overrides("f_coteaching")


def test_what_configs_say_of_methods():
    """These are read from the configs, so that a slot of another name would not empty the lists above unnoticed."""
    assert set(PHASES) <= set(METHODS)
    assert {"co_teaching", "crust", "dividemix", "f_coteaching", "fine"} <= set(SELECTING)
    assert {"co_teaching": "selector", "cdr": "gradient_transform"}.items() <= ESTIMATING.items()
    assert {method for method in METHODS if networks_of(method) == 2} >= {"co_teaching", "elr_plus", "dividemix"}
    assert at_once("crust") == ("selector.warmup_epochs=0", "mixer.start_epoch=0")
    assert at_once("f_coteaching") == ("selector.warmup_epochs=0",)
    assert at_once("gce") == ("criterion.truncate_from=0",)
    assert at_once("ce") == ()
