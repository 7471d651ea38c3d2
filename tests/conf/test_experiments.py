"""Experiments that carry a sweep: their jobs are those of the paper's tables and figures, at both scales."""

import itertools
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from running import command

# Counted by hand, most of them from the paper: rows times columns times three seeds.
JOBS = {
    "table1": 7 * 2 * 8 * 3,
    "table2": 10 * 3,
    "table3": 9 * 3 * 3,
    "table4": 7 * 3 * 3,
    "figure1": 5 * 2 * 3,
    "figure2b": 4 * 3,
    "figure3": 3,
    "figure4a": 2 * 2 * 3,
    "figure4b": (4 + 5 + 5 + 5) * 2 * 3,
    "webvision": 2 * 2 * 3,
    "audit_small": 2 * 6 * 3,
    "audit_retrain": 9 * 3,
    "noise_rates": 6 * 3,
}


def jobs_of(experiment: str) -> list[tuple[str, ...]]:
    """Options of all jobs, multiplied out here by hand."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    sweeper = OmegaConf.to_container(config.hydra.sweeper)
    assert isinstance(sweeper, dict)
    found = []
    for grid in sweeper["grids"] or [{}]:
        values = {**(sweeper["params"] or {}), **grid}
        lists = [[f"{name}={value}" for value in str(text).split(",")] for name, text in values.items()]
        found += list(itertools.product(*lists))
    return found


def resolved(*options: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose_config("train", options).config, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    return config


def test_the_comparison_of_methods_leaves_none_out():
    jobs = jobs_of("methods")
    methods = {word.partition("=")[2] for job in jobs for word in job if word.startswith("method=")}
    # Smoothing of the main head is a part of ALASCA, see table4.
    assert methods == {file.stem for file in (CONF_DIR / "method").glob("*.yaml")} - {"uls", "als", "als_ema"}
    assert len(jobs) == len(methods) * 2 * 2 * 3


@pytest.mark.parametrize("experiment", JOBS)
def test_an_experiment_has_one_job_per_row_column_and_seed(experiment):
    jobs = jobs_of(experiment)
    assert len(jobs) == len(set(jobs)) == JOBS[experiment]


@pytest.mark.parametrize(
    ("options", "key", "expected"),
    [
        # Table 2: FINE_official for GCE, jongwooko/ALASCA for its two networks, no synthetic noise.
        (("experiment=table2", "method=gce", "alasca=none"), "optim.lr", 0.001),
        (("experiment=table2", "method=ce", "alasca=none"), "noise._target_", "alasca_pl.noise.model.NoiseModel"),
        (("experiment=table2", "method=ce", "alasca=none"), "data.subset_size", 128000),
        (("experiment=table2", "method=ce", "alasca=none"), "regularizers", {}),
        (("experiment=table2", "method=ce", "alasca=clothing1m"), "regularizers.alasca.momentum", 0.0),
        (("experiment=table2", "method=co_teaching", "alasca=clothing1m"), "data.subset_size", 192000),
        (("experiment=audit_small", "setting=human_aggre"), "noise.labels", "aggre"),
        (("experiment=audit_small", "setting=human_rand1"), "noise.labels", "rand1"),
        (("experiment=table2", "method=co_teaching", "alasca=none", "scale=small"), "data.subset_size", None),
        (("experiment=table2", "method=co_teaching", "alasca=none", "scale=small"), "data.image_size", 32),
        (("experiment=table2", "method=elr_plus", "alasca=none", "scale=small"), "epochs", 30),
        # Table 3: a position wins over that of alasca=paper.
        (("experiment=table3", "alasca=paper", "aux=last", "aux.kind=mlp"), "aux.stages", "last"),
        (("experiment=table3", "alasca=paper", "aux=last", "aux.kind=mlp"), "aux.kind", "mlp"),
        (("experiment=table3", "alasca=paper", "aux=all", "aux.kind=residual"), "aux.stages", "all"),
        (("experiment=table3", "method=har", "alasca=none", "setting=symmetric40"), "noise.rate", 0.4),
        # Figures.
        (("experiment=figure1", "setting=clean", "criterion.smoothing=0.3"), "criterion.smoothing", 0.3),
        (("experiment=figure1", "setting=clean"), "noise._target_", "alasca_pl.noise.model.NoiseModel"),
        (("experiment=figure1", "setting=clean"), "regularizers", {}),
        (("experiment=figure3", "component=alasca", "setting=asymmetric40"), "regularizers.alasca.momentum", 0.7),
        (("experiment=figure4b", "method=ce", "optim.weight_decay=1e-4"), "optim.optimizer.weight_decay", 1e-4),
        (("experiment=figure4b", "method=crust", "selector.fraction=0.3", "scale=small"), "selector.fraction", 0.3),
        (("experiment=webvision", "method=co_teaching"), "optim.scheduler.milestones", [50]),
        (("experiment=webvision", "method=ce"), "optim.scheduler.milestones", [30, 60]),
        (("experiment=webvision", "method=ce", "scale=small"), "data.image_size", 32),
    ],
)
def test_jobs_have_the_settings_of_their_sources(options, key, expected):
    value: Any = resolved(*options)
    for name in key.split("."):
        value = value[name]
    assert value == expected


def lines_of(experiment: str) -> list[list[str]]:
    """Commands in the header of an experiment's yaml."""
    text = (CONF_DIR / "experiment" / f"{experiment}.yaml").read_text()
    found = [line.removeprefix("#").split() for line in text.splitlines() if line.startswith("#")]
    return [words for words in found if words[:2] == ["alasca-train", "-m"]]


# Those with several grids; each job is composed, so that all would take minutes.
@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["table3", "figure4b"])
def test_the_lines_in_its_header_are_accepted(tmp_path, experiment):
    for words in lines_of(experiment):
        # Whether there is a GPU is no matter of the line.
        line = [word for word in words[1:] if word != "trainer=gpu"]
        outcome = command(tmp_path, *line, "seed=0", "hydra.launcher.dry_run=true")
        assert outcome.code == 0, outcome
        # A line that names a data set has its columns only.
        number = int(outcome.out.rpartition(" jobs, ")[0].split()[-1])
        assert number == JOBS[experiment] // 3 or (number < JOBS[experiment] // 3 and "data=cifar10" in line)
