"""Constants that depend on data and noise: each applies where its entry says so, and nowhere else."""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import Composed, compose_config
from alasca_pl.cli.constants import Noise, merged_values, select
from alasca_pl.core.errors import UserError
from facts import METHODS
from running import command

KINDS = ("symmetric", "asymmetric", "pairflip", "instance", "human", "matrix", "none", "from_file")
DATA = sorted(path.stem for path in (CONF_DIR / "data").glob("*.yaml"))


@functools.cache
def composed(*overrides: str) -> Composed:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose_config("train", overrides)


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict) or not config:
        return {prefix: config}
    return {name: leaf for key, value in config.items() for name, leaf in leaves(value, f"{prefix}.{key}").items()}


def entries_of(method: str) -> dict[str, Any]:
    """Entries as the method's file and those that it builds on state them."""
    content = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "method" / f"{method}.yaml"))
    based = [name for name in content.get("defaults", []) if isinstance(name, str) and name != "_self_"]
    return {
        **{name: entry for base in based for name, entry in entries_of(base).items()},
        **content.get("constants", {}),
    }


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# Composing takes a while, so that only one method with entries of every form is among the fast tests.
EVERY = [
    pytest.param(method, name, data, scale, noise, rate, marks=() if method == "dividemix" else pytest.mark.slow)
    for method in METHODS
    for name, entry in entries_of(method).items()
    for data in listed(entry.get("data", "cifar10"))
    for scale in listed(entry.get("scale", "paper"))
    for noise in listed(entry.get("noise", "symmetric"))
    for rate in entry.get("by_rate", [None])
]


def test_there_are_constants():
    assert len({each.values[:2] for each in EVERY}) > 25


@pytest.mark.parametrize(("method", "name", "data", "scale", "noise", "rate"), EVERY)
def test_every_entry_applies_and_changes_nothing_else(method, name, data, scale, noise, rate):
    entry = entries_of(method)[name]
    assert data in DATA, f"{method}/{name} is for data that does not exist"
    assert noise in KINDS, f"{method}/{name} is for a kind of noise that does not exist"
    overrides = [f"method={method}", f"data={data}", f"scale={scale}", f"noise={noise}"]
    overrides += [f"noise.rate={rate}"] if rate else []
    both, neither = composed(*overrides), composed(*overrides, "constants=null")
    assert name in [each.name for each in both.applied]
    assert neither.applied == []
    taken, without = (leaves(OmegaConf.to_container(each.config, resolve=True)) for each in (both, neither))
    stated = leaves(entry.get("set", {})) | (leaves(entry["by_rate"][rate]) if rate else {})
    assert {key: taken.get(key) for key in stated if key} == {key: value for key, value in stated.items() if key}
    all_stated = {key for each in both.applied for key in leaves(each.values)}
    assert all_stated <= without.keys(), "an entry sets what its method or data does not have"
    follows = {key for key, value in leaves(OmegaConf.to_container(both.config)).items() if "${" in str(value)}
    changed = {key for key in taken.keys() | without.keys() if taken.get(key) != without.get(key)}
    assert changed <= all_stated | follows


def noise_file(path: Path, kind: str | None, rate: float | None = None) -> Path:
    content: dict[str, Any] = {"label": np.arange(20) % 10, "index": np.arange(20)}
    if kind is not None:
        content |= {"kind": np.str_(kind), "rate": np.float64(np.nan if rate is None else rate)}
        content |= {"num_classes": np.int64(10), "seed": np.int64(0)}
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(("kind", "strength"), [("asymmetric", 1.0), ("symmetric", 3.0), ("human", 3.0), (None, 3.0)])
def test_labels_from_a_file_get_the_constants_of_their_own_kind(tmp_path, kind, strength):
    path = noise_file(tmp_path / "noise.npz", kind, 0.4)
    found = composed("method=elr", "data=cifar10", "noise=from_file", f"noise.path={path}")
    assert found.config.criterion.strength == strength
    assert [entry.name for entry in found.applied] == (["cifar10_asymmetric"] if kind == "asymmetric" else [])
    (remark,) = found.remarks
    if kind == "asymmetric":
        assert remark == "constants: elr/cifar10_asymmetric"
    else:
        assert f"for noise of kind {kind or 'from_file'}" in remark
        assert "there are some for asymmetric" in remark
        assert ("does not record" in remark) == (kind is None)


@pytest.mark.parametrize(
    ("rate", "strength", "words"),
    [
        (0.5, 25.0, "dividemix/cifar10_symmetric at rate 0.5"),
        (0.86, 50.0, "values of rate 0.9, the nearest to 0.86 of 0.2, 0.5, 0.8, 0.9"),
        (None, 25.0, "the rate of these labels is not recorded"),
    ],
)
def test_labels_from_a_file_get_the_constants_of_their_own_rate(tmp_path, rate, strength, words):
    path = noise_file(tmp_path / "noise.npz", "symmetric", rate)
    found = composed("method=dividemix", "data=cifar10", "noise=from_file", f"noise.path={path}")
    assert found.config.step.strength_unlabelled == strength
    assert sum(words in remark for remark in found.remarks) == 1


def test_both_groups_of_asymmetric_noise_are_one_kind():
    one, other = (
        composed("method=elr", "data=cifar10", f"noise={name}") for name in ("asymmetric", "asymmetric_paper")
    )
    assert one.applied == other.applied
    assert one.applied[0].name == "cifar10_asymmetric"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_a_file_that_cannot_be_read_is_left_to_the_run_to_refuse(tmp_path, content):
    path = tmp_path / "noise.npz"
    if content is not None:
        path.write_bytes(content)
    found = composed("method=elr", "data=cifar10", "noise=from_file", f"noise.path={path}")
    assert found.applied == []


def test_a_small_scale_shortens_schedules_and_overrules_the_settings_of_the_method():
    paper, small = (
        composed("method=co_teaching", "data=cifar10", f"scale={scale}").config for scale in ("paper", "small")
    )
    assert (paper.epochs, paper.optim.lr, paper.selector.ramp_epochs) == (120, 0.01, 39)
    assert (small.epochs, small.optim.lr, small.selector.ramp_epochs) == (30, 0.05, 8)
    assert small.selector.estimate_epoch < small.epochs
    alasca = composed("method=ce", "data=cifar10", "scale=small").config.regularizers.alasca
    assert (alasca.ramp_epochs, alasca.strength) == (8, 2.0)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # Absolute weight decay takes the place of the squared one, whatever data set, scale and optimiser suggest.
        ("method=anl_ce data=cifar10 scale=small", {"optim.weight_decay": 0.0, "gradient_transform.strength": 5e-5}),
        ("method=anl_ce_er data=cifar100 scale=medium", {"optim.weight_decay": 0.0}),
        ("method=anl_ce optim=adamw", {"optim.weight_decay": 0.0}),
        # A scale's rate is for momentum, DISC's own is not.
        ("method=disc data=cifar10", {"optim.lr": 0.1, "optim.momentum": 0.0}),
        ("method=disc data=cifar10 scale=small", {"optim.lr": 0.05, "optim.momentum": 0.9}),
        ("method=disc data=cifar10 scale=medium", {"optim.lr": 0.1, "optim.momentum": 0.9}),
        # A rate of 0.6 changes these, whatever the kind of noise.
        (
            "method=disc data=cifar10 noise=instance noise.rate=0.6",
            {"selector.momentum": 0.95, "step.strength_hard": 0.2, "step.warmup_epochs": 15},
        ),
        # run.sh of Justherozen/ProMix has one value for CIFAR-100, with people's labels and others.
        ("method=promix data=cifar100 noise=human", {"step.adjust": 0.5, "step.debias": 0.5, "step.threshold": 0.95}),
        # Epoch 150 of tmllab/2021_NeurIPS_PES does not count the five of the refinement, like the ends of ramp and run.
        ("method=pes_semi data=cifar10", {"step.later_alpha_from": 155, "step.warmup_epochs": 25, "epochs": 305}),
        # GJS with two equal views is JS.
        ("method=gjs data=cifar10 scale=small", {"data.augment": "none", "step.views": ["weak", "weak"]}),
        # The estimate of the rate plus the ramp.
        (
            "method=co_teaching_plus data=cifar10",
            {"selector.estimate_epoch": 10, "selector.ramp_epochs": 10, "selector.start_epoch": 20},
        ),
        (
            "method=co_teaching_plus scale=small",
            {"selector.estimate_epoch": 4, "selector.ramp_epochs": 8, "selector.start_epoch": 12},
        ),
        # The last drop of the learning rate.
        ("method=nls data=cifar100", {"optim.milestones": [80, 120], "criterion.warmup_epochs": 120}),
    ],
)
def test_values_that_scales_and_noise_leave_as_they_must_be(overrides, expected):
    config = composed(*overrides.split()).config
    assert {name: OmegaConf.select(config, name) for name in expected} == expected


_BEGINS = re.compile(r"\.(start|((start|estimate|revise|warmup)_epochs?))$")


@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        pytest.param(method, overrides, marks=() if method == "t_revision" else pytest.mark.slow)
        for method in METHODS
        for overrides in ("data=digits", "data=cifar10", "data=cifar100", "data=webvision", "data=cifar10 scale=small")
    ],
)
def test_every_stage_of_a_method_begins_before_the_run_ends(method, overrides):
    config = OmegaConf.to_container(composed(f"method={method}", *overrides.split()).config, resolve=True)
    begins = {name: value for name, value in leaves(config).items() if _BEGINS.search(name) and value is not None}
    assert {name: value for name, value in begins.items() if value >= config["epochs"]} == {}


def test_presets_and_command_line_overrule_constants_which_overrule_the_method():
    # elr_plus on CIFAR-10 has 200 epochs and batches of 128; the preset 30 and 64.
    found = composed("experiment=cifar10_small", "method=elr_plus", "optim.gamma=0.5")
    assert [entry.name for entry in found.applied] == ["cifar10"]
    config = OmegaConf.to_container(found.config, resolve=True)
    assert (config["epochs"], config["data"]["batch_size"], config["optim"]["gamma"]) == (30, 64, 0.5)
    assert config["suggested"]["milestones"] == [150]


def test_rules_are_not_part_of_the_config():
    for overrides in (("method=elr",), ("method=elr", "data=cifar100")):
        found = composed(*overrides)
        assert "constants" not in found.config
        assert "applied_constants" not in found.choices


@pytest.mark.parametrize(
    ("rate", "nearest"), [(0.0, 0.2), (0.34, 0.2), (0.35, 0.2), (0.36, 0.5), (0.7, 0.5), (0.71, 0.9), (1.0, 0.9)]
)
def test_of_two_equally_near_rates_the_lower_applies(rate, nearest):
    entry = {"data": "toy", "by_rate": {0.9: {"x": 9}, 0.2: {"x": 2}, 0.5: {"x": 5}}}
    (applied,) = select({"a": entry}, "toy", Noise("symmetric", rate))
    assert (applied.rate, applied.values["x"]) == (nearest, int(10 * nearest))


def test_later_entries_overrule_earlier_ones_value_by_value():
    entries = {
        "all": {"data": ["toy", "other"], "set": {"a": {"x": 1, "y": 1}}},
        "mine": {"data": "toy", "noise": ["symmetric", "pairflip"], "set": {"a": {"y": 2}}},
        "theirs": {"data": "other", "set": {"a": {"x": 3}}},
        "dropped": None,
    }
    assert merged_values(select(entries, "toy", Noise("pairflip", None))) == {"a": {"x": 1, "y": 2}}
    assert merged_values(select(entries, "toy", Noise("human", None))) == {"a": {"x": 1, "y": 1}}
    assert merged_values(select(entries, "other", Noise(None, None))) == {"a": {"x": 3, "y": 1}}
    assert select(entries, "third", Noise("pairflip", None)) == []


def test_an_entry_may_be_for_a_scale_whatever_the_data():
    entries = {"a": {"scale": "small", "set": {"x": 1}}, "b": {"scale": "small", "data": "toy", "set": {"x": 2}}}
    values = [
        merged_values(select(entries, data, Noise(None, None), scale))
        for data, scale in (("toy", "small"), ("other", "small"), ("toy", "paper"), ("toy", None))
    ]
    assert values == [{"x": 2}, {"x": 1}, {}, {}]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"set": {"epochs": 1}}, "constants.mine .*data and scale are missing"),
        ({"data": "toy", "values": {}}, "constants.mine .*got 'values'"),
        ({"data": "toy", "set": 3}, "constants.mine.set must be a mapping, got 3"),
        ({"data": "toy", "by_rate": {"high": {"epochs": 1}}}, "constants.mine.by_rate .*'high'"),
        ({"data": "toy", "by_rate": {0.5: 7}}, "constants.mine.by_rate .*0.5: 7"),
        (7, "constants.mine must be a mapping"),
    ],
)
def test_an_entry_of_another_form_is_refused(entry, message):
    with pytest.raises(UserError, match=message):
        select({"mine": entry}, "toy", Noise("symmetric", 0.5))


def own_method(folder: Path) -> Path:
    (folder / "mine" / "method").mkdir(parents=True)
    (folder / "mine" / "method" / "own.yaml").write_text(
        "# @package _global_\ndefaults: [ce]\nconstants:\n  few_digits:\n    data: digits\n    noise: pairflip\n"
        "    set: {epochs: 7, criterion: {scale: 0.5}}\n    by_rate: {0.3: {seed: 3}, 0.4: {seed: 4}}\n"
    )
    return folder / "mine"


def test_a_method_of_a_user_s_folder_brings_its_constants(tmp_path):
    arguments = ["--config-dir", str(own_method(tmp_path)), "method=own", "noise=pairflip", "noise.rate=0.45"]
    outcome = command(tmp_path, *arguments, "trainer=smoke", "callbacks=quiet", "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    assert "constants: own/few_digits with the values of rate 0.4, the nearest to 0.45 of 0.3, 0.4" in outcome.out
    record = (tmp_path / "run" / "record.json").read_text()
    assert re.search(r'"constants": \[\s*"few_digits"\s*\]', record)
    assert '"seed": 4' in record
    assert "applied_constants" not in record
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert (config.epochs, config.criterion.scale, config.seed) == (7, 0.5, 4)
    assert "constants" not in config


def test_noise_files_are_made_with_the_constants_of_such_a_run(tmp_path):
    arguments = ["--config-dir", str(own_method(tmp_path)), "method=own", "noise=pairflip", "noise.rate=0.4"]
    outcome = command(tmp_path, "make", *arguments, "output=noise.npz", "plot=null", entry="noise")
    assert outcome.code == 0, outcome
    assert int(np.load(tmp_path / "noise.npz")["seed"]) == 4
