"""What records say of how runs began."""

import functools
import hashlib

import numpy as np
import torch

from alasca_pl.runs import training_run as runs
from alasca_pl.runs.digests import flop_counts, split_digest, weights_digest
from running import config_for


def prepared(folder, *overrides):
    return runs.prepare(config_for(*overrides), folder, {})


def test_runs_that_begin_alike_have_equal_digests(tmp_path):
    base = prepared(tmp_path / "a", "method=ce", "alasca=none").record
    with_heads = prepared(tmp_path / "b", "method=ce", "alasca=paper").record
    assert with_heads.initial_weights == base.initial_weights and len(base.initial_weights) == 1
    assert with_heads.train_split == base.train_split
    assert base.parameters["aux_heads"] == 0 < with_heads.parameters["aux_heads"]
    assert with_heads.parameters["main"] == base.parameters["main"]
    other = prepared(tmp_path / "c", "method=ce", "alasca=none", "seed=1").record
    assert other.initial_weights != base.initial_weights and other.train_split != base.train_split


def test_each_network_has_a_digest_and_counts_are_those_of_one(tmp_path):
    run = prepared(tmp_path / "a", "method=co_teaching", "alasca=none")
    assert len(set(run.record.initial_weights)) == 2
    network = run.module.method.networks[0]
    assert run.record.parameters["main"] == sum(value.numel() for value in network.parameters())
    before = weights_digest(network)
    with torch.no_grad():
        network.head.bias[0] += 1e-3
    assert before == run.record.initial_weights[0] != weights_digest(network)


def test_operations_are_those_of_convolutions_and_linear_layers(tmp_path):
    run = prepared(tmp_path / "a", "method=ce", "alasca=paper")
    network = run.module.method.networks[0]
    counted = {"main": 0, "aux_heads": 0}

    def count(where, layer, inputs, output):
        # Two operations for each weight that meets each place of the map.
        places = output.shape[-2] * output.shape[-1] if isinstance(layer, torch.nn.Conv2d) else 1
        counted[where] += 2 * layer.weight.numel() * places

    before = weights_digest(network)
    handles = [
        layer.register_forward_hook(functools.partial(count, "aux_heads" if name.startswith("aux_heads.") else "main"))
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, *run.data.facts.image_shape))
    for handle in handles:
        handle.remove()
    assert run.record.flops == counted and counted["aux_heads"] > 0
    network.train()
    assert flop_counts(network, run.data.facts.image_shape) == counted
    assert network.training and weights_digest(network) == before


def test_the_split_is_hashed_by_position_whatever_the_type():
    content = np.array([3, 1, 258], dtype="<i8").tobytes()
    assert split_digest(np.array([3, 1, 258], dtype=np.int32)) == hashlib.sha256(content).hexdigest()
    assert split_digest(np.array([1, 3, 258])) != split_digest(np.array([3, 1, 258]))
