"""Parameters that a part brings along, and scans for parts of one network."""

import pytest
import torch

from alasca_pl.build.data import build_data
from alasca_pl.build.module import build_module
from alasca_pl.core.scan import ScanResult
from alasca_pl.core.types import DataFacts
from running import SMALLER, checkpoint, config_for, train

FACTS = DataFacts("toy", 10, 64, (1, 8, 8), "x", tuple("0123456789"), (0.5,), (0.5,))


def test_they_get_a_group_with_a_rate_of_their_own_that_follows_the_schedule():
    options = ("method=volminnet", "alasca=none", "num_networks=2", "optim.lr=0.3", "optim.milestones=[1]")
    module = build_module(config_for(*options), FACTS)
    optimizer, schedule = module.optimizer_at(0)
    rest, *own = optimizer.param_groups
    assert [group["params"] for group in own] == [[criterion.free] for criterion in module.method.criteria]
    assert {id(each) for each in rest["params"]} == {id(each) for each in module.method.networks.parameters()}
    assert [(group["lr"], group["weight_decay"]) for group in own] == [(0.01, 0.0)] * 2
    assert rest["lr"] == 0.3 and rest["weight_decay"] > 0
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in (rest, *own)] == pytest.approx([0.03, 0.001, 0.001])


def test_without_any_the_optimizer_has_one_group():
    module = build_module(config_for("method=elr", "alasca=none"), FACTS)
    assert len(module.optimizer_at(0)[0].param_groups) == 1


def test_they_are_trained_and_not_clipped(tmp_path):
    options = (*SMALLER, "epochs=1", "method=volminnet", "alasca=none", "optim.weight_decay=0", "optim.lr=0")
    train(tmp_path / "one", *options)
    train(tmp_path / "other", *options, "trainer.gradient_clip_val=1e-9")
    one, other = (checkpoint(tmp_path / name)["state_dict"]["method.criteria.0.free"] for name in ("one", "other"))
    assert torch.equal(one, other) and not torch.equal(one, torch.full((10, 10), -2.0))


def test_each_network_s_criterion_gets_the_scan_of_its_network(tmp_path):
    # From networks whose weights differ and stay as they are.
    train(
        tmp_path / "run", *SMALLER, "epochs=2", "method=forward", "alasca=none", "num_networks=2", "optim.lr=0",
        "criterion.estimate_epoch=1", "criterion.percentile=null",
    )  # fmt: skip
    state = checkpoint(tmp_path / "run")["state_dict"]
    matrices = [state[f"method.criteria.{number}._extra_state"]["matrix"] for number in range(2)]
    for matrix in matrices:
        assert matrix.sum(dim=1).tolist() == pytest.approx([1.0] * 10)
    assert not torch.allclose(*matrices)


def test_a_network_s_part_of_a_scan():
    result = ScanResult(torch.arange(3), losses=torch.arange(6.0).reshape(2, 3), probs=torch.rand(2, 3, 4))
    part = result.of_network(1)
    assert part.label is result.label and part.features is None and part.head_weight is None
    assert part.losses.tolist() == [[3.0, 4.0, 5.0]] and torch.equal(part.probs, result.probs[1:])


def test_the_true_matrix_reaches_a_criterion_only_by_the_word_oracle():
    config = config_for("method=forward", "alasca=none", "criterion.matrix=oracle")
    data = build_data(config)
    found = build_module(config, data.facts).method.criteria[0].matrix
    assert found.tolist() == data.noisy_labels.transition_matrix.tolist()
    assert build_data(config_for("method=forward", "alasca=none")).facts.realised_matrix == ()
