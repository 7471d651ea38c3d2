"""Whole runs: ALASCA switched on changes nothing but what its penalty does."""

import pytest
import torch

from running import checkpoint, train

HOSTS = {
    "ce": (),
    "elr": ("method=elr",),
    "two_networks": ("num_networks=2",),
    "clipped": ("trainer.gradient_clip_val=0.5",),
}


def _main_networks(folder):
    state = checkpoint(folder)["state_dict"]
    return {name: value for name, value in state.items() if ".networks." in name and ".aux_heads." not in name}


@pytest.mark.parametrize("host", HOSTS)
def test_strength_zero_equals_absence_bit_for_bit(tmp_path, host):
    overrides = (*HOSTS[host], "model.norm=batch", "epochs=2")
    off = train(tmp_path / "off", *overrides, "alasca=none")
    zero = train(tmp_path / "zero", *overrides, "alasca=paper", "regularizers.alasca.strength=0")
    without, with_zero = _main_networks(tmp_path / "off"), _main_networks(tmp_path / "zero")
    assert without.keys() == with_zero.keys()
    assert [name for name in without if not torch.equal(without[name], with_zero[name])] == []
    for name, value in off["metrics"]["last"].items():
        assert zero["metrics"]["last"][name] == value, name
    assert off["noise"] == zero["noise"]


def test_the_penalty_reaches_the_backbone(tmp_path):
    """The counterpart: with a strength the same weights move elsewhere."""
    train(tmp_path / "off", "alasca=none", "epochs=1")
    train(tmp_path / "on", "alasca=paper", "epochs=1")
    without, with_alasca = _main_networks(tmp_path / "off"), _main_networks(tmp_path / "on")
    first = "parts.networks.0.backbone.stages.0.0.weight"
    assert not torch.equal(without[first], with_alasca[first])


def test_wrong_samples_are_trusted_less(tmp_path):
    """What the method is for: after some epochs the confidence tells wrong labels from clean ones."""
    overrides = (
        "epochs=12",
        "noise.rate=0.4",
        "model.norm=batch",
        "model.backbone.width=8",
        "data.max_train_samples=600",
    )
    record = train(tmp_path / "run", *overrides, "alasca=paper")
    last = record["metrics"]["last"]
    assert last["alasca/confidence_clean"] > last["alasca/confidence_wrong"]
    assert last["alasca/auroc"] > 0.8
