"""Whole runs: ALASCA switched on changes nothing but what its penalty does."""

import pytest
import torch

from facts import METHODS
from running import SMALLER, assert_same_bits, checkpoint, method_overrides, slow_unless, train

HOSTS = {method: method_overrides(method) for method in METHODS} | {
    "two_networks": ("method=ce", "num_networks=2"),
    "clipped": ("method=ce", "trainer.gradient_clip_val=0.5"),
    "cdr_two_networks_clipped": (*method_overrides("cdr"), "num_networks=2", "trainer.gradient_clip_val=0.5"),
    "dividemix_labelled": (*method_overrides("dividemix"), "step.mix=labelled", "step.warmup_penalty=1"),
    "averaged_teacher": ("method=elr", "+teacher._target_=alasca_pl.models.teacher.WeightAverage"),
}
FAST = ("byot", "cdr", "clipped", "crust", "dividemix", "elr_plus", "har")


@pytest.mark.parametrize("host", slow_unless(FAST, HOSTS))
def test_strength_zero_equals_absence_bit_for_bit(tmp_path, host):
    """Weights, statistics of batch norm, teachers, tables and metrics of a run do not notice what is switched off."""
    overrides = (*SMALLER, "model.norm=batch", *HOSTS[host])
    off = train(tmp_path / "off", *overrides, "alasca=none")
    zero = train(tmp_path / "zero", *overrides, "alasca=paper", "regularizers.alasca.strength=0")
    without, with_zero = (checkpoint(tmp_path / run)["state_dict"] for run in ("off", "zero"))
    assert any(name.endswith("running_mean") for name in without)
    assert_same_bits(without, {name: with_zero[name] for name in without})
    assert all(".aux_heads." in name or ".alasca." in name for name in with_zero.keys() - without.keys())
    for name, value in off.metrics["last"].items():
        assert zero.metrics["last"][name] == value, name
    assert off.noise == zero.noise


def test_the_penalty_reaches_the_backbone(tmp_path):
    """The counterpart: with a strength the same weights move elsewhere."""
    train(tmp_path / "off", "alasca=none", "epochs=1")
    train(tmp_path / "on", "alasca=paper", "epochs=1")
    without, with_alasca = (checkpoint(tmp_path / run)["state_dict"] for run in ("off", "on"))
    first = "method.networks.0.backbone.stages.0.0.weight"
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
    last = record.metrics["last"]
    assert last["alasca/confidence_clean"] > last["alasca/confidence_wrong"]
    assert last["alasca/auroc"] > 0.8
