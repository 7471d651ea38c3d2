"""``alasca-bench``: what it counts, by hand; that all it lists can be measured; nothing about speed."""

import json
import logging
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from alasca_pl.bench.clock import Duration
from alasca_pl.bench.memory import StepMemory
from alasca_pl.bench.output import base_of, floor_of
from alasca_pl.bench.suite import WHATS
from alasca_pl.bench.turns import Result, ratio, spread, take_turns
from alasca_pl.core.errors import UserError
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.data.synthetic import read_synthetic
from alasca_pl.report.paper import paper_costs
from running import command

SMALL = ("data.reader.num_train=40", "data.reader.num_test=10", "data.reader.pixels=8", "data.batch_size=10")
TINY = (*SMALL, "model.backbone.width=4", "rounds=1", "steps=1", "workers=0")


class Counted:
    """A case that takes a second more each time."""

    memory = flops = None
    images = 3

    def __init__(self, name, order):
        self.name, self._order, self._times = name, order, 0

    def measure(self):
        self._order.append(self.name)
        self._times += 1
        return Duration(wall=float(self._times), cpu=10.0 * self._times)


def test_cases_take_turns_and_the_first_round_does_not_count():
    order, said = [], []
    results = take_turns([Counted("a", order), Counted("b", order)], "step", rounds=2, say=said.append)
    assert order == ["a", "b"] * 3
    assert [result.wall for result in results] == [[2.0, 3.0]] * 2
    assert results[0].cpu == [20.0, 30.0] and results[0].images == 3
    assert said[0] == "warm-up: a" and said[-1] == "round 2 of 2: b"


@pytest.mark.parametrize("fails_in", [1, 3])
@pytest.mark.parametrize("error", [UserError("no such data"), FloatingPointError("loss is not finite")])
def test_what_cannot_be_measured_is_left_out(error, fails_in):
    class Failing(Counted):
        def measure(self):
            duration = super().measure()
            if self._times == fails_in:
                raise error
            return duration

    order, said = [], []
    results = take_turns([Counted("a", order), Failing("b", order)], "step", rounds=3, say=said.append)
    assert [result.name for result in results] == ["a"] and len(results[0].wall) == 3
    assert order.count("b") == fails_in and f"left out: b: {error}" in said
    with pytest.raises(type(error)):
        take_turns([Failing("b", [])], "step", rounds=3, say=said.append)


def test_ratios_are_taken_within_a_round():
    # One slow round, in which both were slow, changes no ratio.
    assert ratio([2.0, 20.0, 4.0], [1.0, 10.0, 1.0]) == (2.0, 2.0, 4.0)
    assert spread([1.0, 1.0, 0.5]) == 0.5 and spread([0.0]) == 0.0


def test_the_floor_is_the_faster_layout_and_the_base_is_cross_entropy():
    results = [
        Result("bare network, contiguous", "step", 1, wall=[1.0], cpu=[5.0]),
        Result("bare network, channels_last", "step", 1, wall=[2.0], cpu=[3.0]),
        Result("ce", "step", 1, wall=[3.0], cpu=[6.0]),
    ]
    assert floor_of(results) is results[1] and base_of(results) is results[2]
    assert floor_of(results[2:]) is None and base_of(results[:2]) is results[0]


def test_the_papers_ratios_are_those_of_its_table_3():
    costs = paper_costs()
    assert costs["ALASCA-Bottleneck*"] == (1.2, 1.1) and costs["HAR"] == (5.2, 2.0) and costs["CDR"] == (6.5, 1.3)


class Batches:
    """Two batches; a list would be taken for several loaders."""

    def __iter__(self):
        yield from (torch.randn(4, 3), torch.randn(4, 3))


class Affine(L.LightningModule):
    """One layer and a table: everything that is kept can be counted by hand."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2, bias=False)
        self.table = SampleBuffer(num_samples=5, row_size=2, momentum=0.0)

    def training_step(self, batch, batch_idx):
        # Autograd keeps the input (4 x 3) for the weight and the output (4 x 2) for the square.
        return self.layer(batch).square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def test_memory_of_a_step_by_hand(tmp_path):
    memory = StepMemory()
    trainer = L.Trainer(
        max_steps=2, callbacks=[memory], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Affine(), Batches())
    weight, table, kept = 3 * 2, 5 * 2, 4 * 3 + 4 * 2
    # Weight, gradient, momentum, table, and what is kept; 4 bytes each.
    assert memory.bytes == 4 * (3 * weight + table + kept)


def test_a_state_at_the_address_of_what_was_freed_counts_as_well():
    memory, module, weight = StepMemory(), torch.nn.Module(), torch.nn.Parameter(torch.ones(3))
    module.weight, module.device = weight, torch.device("cpu")
    memory.on_train_batch_start(None, module, None, 0)
    kept = weight.exp()
    memory.on_before_backward(None, module, kept.sum())
    # As if what exp keeps had been freed and taken again.
    optimizer = SimpleNamespace(state={weight: {"momentum": kept.detach()}})
    memory.on_train_batch_end(SimpleNamespace(optimizers=[optimizer]), module, None, None, 0)
    # Weight, gradient, result of exp, momentum.
    assert memory.bytes == 4 * (3 + 3 + 3 + 3)


@pytest.mark.parametrize("what", ["step", "loading", "peers"])
def test_a_measurement_prints_and_writes_all_times(tmp_path, what):
    done = command(tmp_path, f"what={what}", "output=out", *TINY, entry="bench")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    results = content["results"][what]
    assert all(len(result["wall"]) == 1 and min(result["wall"] + result["cpu"]) > 0 for result in results)
    assert all(result["name"] in done.out for result in results)
    assert {result["images"] for result in results} == {10 if what == "step" else 40}
    assert (tmp_path / "out" / "bench.png").read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    if what == "step":
        by_name = {result["name"]: result for result in results}
        assert by_name["ce+alasca"]["memory"] > by_name["ce"]["memory"] and by_name["ce+alasca"]["paper"] == [1.2, 1.1]
        assert by_name["ce+alasca"]["flops"] > by_name["ce"]["flops"]


def test_methods_are_measured_after_their_warm_up(tmp_path):
    # Two networks, which is all until DivideMix's warm-up is over; then each of them sees mixes of several views.
    done = command(
        tmp_path, "what=methods", "methods=dividemix,backward", "output=out", *TINY, "data.batch_size=12", entry="bench"
    )
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "out" / "bench.json").read_text())["results"]["methods"]
    by_name = {result["name"]: result for result in results}
    assert by_name["dividemix"]["memory"] > 3 * by_name["ce"]["memory"]
    assert len(by_name["backward"]["cpu"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["what=speed"], "unknown what=speed; choose from all, loading"),
        (["what=methods", "methods=elrr"], "unknown methods=elrr"),
        (["rounds=0"], "rounds=0 is no whole number of at least 1"),
        (["what=step", "steps=100"], "an epoch of 40 images has 4 whole batches"),
        (["what=step", "-m"], "takes no -m"),
        (["what=step", "metod=ce"], "did you mean method?"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, words, message):
    done = command(tmp_path, *words, *SMALL, entry="bench")
    assert done.code == 1 and message in done.err and len(done.err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_full_output_folder_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = command(tmp_path, "what=step", "output=out", *TINY, entry="bench")
    assert done.code == 1 and "exists and is not empty" in done.err and "warm-up" not in done.err


def test_the_help_names_all_there_is(tmp_path):
    done = command(tmp_path, "--help", entry="bench")
    assert all(f"\n  {what} " in done.out for what in WHATS)


def test_random_images_are_the_same_each_time_and_their_labels_balanced():
    one, other = (read_synthetic(num_train=20, num_test=0, pixels=4, colours=1, classes=4) for _ in range(2))
    assert one.test is None and one.train.images.shape == (20, 4, 4, 1)
    assert (one.train.images == other.train.images).all() and (one.train.labels == other.train.labels).all()
    assert sorted(one.train.labels.tolist()) == sorted(list(range(4)) * 5)


@pytest.mark.parametrize(
    ("name", "value"), [("num_train", 0), ("num_test", -1), ("pixels", 0), ("colours", 2), ("classes", 1)]
)
def test_random_images_refuse_values_outside_their_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        read_synthetic(**{name: value})


def test_the_log_is_as_loud_afterwards_as_it_was_before(tmp_path):
    before = logging.getLogger("alasca_pl").level
    outcome = command(tmp_path, "what=loading", *TINY, entry="bench")
    assert outcome.code == 0, outcome.out + outcome.err
    assert logging.getLogger("alasca_pl").level == before
