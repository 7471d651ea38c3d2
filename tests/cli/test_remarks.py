"""Remarks in the log on choices that may not be meant."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.cli.remarks import remarks_on

CONF = Path(__file__).parents[2] / "conf"


def remarks_for(*overrides: str) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    return remarks_on(config, config.hydra.runtime.choices)


@pytest.mark.parametrize("method", ["dividemix", "elr_plus"])
def test_another_network_than_that_of_the_published_figures_is_named(method: str):
    assert remarks_for(f"method={method}", "data=cifar10") == [
        f"the published figures of {method} on cifar10 are from model=preact_resnet18; this run trains model=resnet34_cifar"
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=dividemix_preact"],
        ["experiment=a_elr_plus"],
        ["method=elr_plus", "data=cifar100", "model=preact_resnet18"],
        # The networks of these data sets are the published ones.
        ["method=dividemix", "data=clothing1m"],
        ["method=elr_plus", "data=webvision"],
        # Nothing is published.
        ["method=dividemix", "data=digits"],
        ["method=ce", "data=cifar10"],
    ],
)
def test_otherwise_nothing_is_said(overrides: list[str]):
    assert remarks_for(*overrides) == []


@pytest.mark.parametrize("file", sorted((CONF / "method").glob("*.yaml")), ids=lambda file: file.stem)
def test_published_networks_are_names_of_files(file: Path):
    for data, model in (OmegaConf.load(file).get("published_network") or {}).items():
        assert (CONF / "data" / f"{data}.yaml").is_file() and (CONF / "model" / f"{model}.yaml").is_file()


def test_phases_that_begin_in_another_order_than_listed_are_named():
    assert remarks_for("method=pes") == []
    assert remarks_for("method=pes", "phases.refine_head=null") == []
    assert remarks_for("method=pes", "phases.select.start=10") == [
        "the phases begin in another order than refine_last_stage, refine_head, select, the order of the config: "
        "select (start=10), refine_last_stage (start=25), refine_head (start=32)"
    ]
