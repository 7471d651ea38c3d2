"""Commands of jobs: names of any kind reach the job as they are."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from alasca_pl.cli.arguments import ordered, quote_paths
from alasca_pl.core.overrides import in_quotes, option_name, passed_on, quoted
from hydra_plugins.alasca_launcher import LocalLauncher, portable_override
from hydra_plugins.alasca_sweeper import given_options
from running import FULL_STORMS

PIECES = [*"ab1 '\"\\=,[](){}$:~#@!%&*?|;<>é日-+._", "${", "\\${", "\\\\", "${oc.env:HOME}", "null", "true", "1e3"]
NASTY = 'it\'s a [1], {b: "c"} = (d)\\e ${seed} é~\\'


def _names(number):
    rng = random.Random(1)
    return [NASTY, *("".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12))) for _ in range(number))]


def _taken(override):
    """The value that Hydra takes from an override."""
    parsed = OverridesParser.create().parse_override(override)
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"x": parsed.value()}).x


def _launcher(overrides=()):
    launcher = LocalLauncher()
    hydra = {
        "overrides": {"hydra": list(overrides)},
        "runtime": {"config_sources": []},
        "job": {"config_name": "train"},
    }
    launcher.config = OmegaConf.create({"hydra": hydra, "seed": 3})
    return launcher


def test_folder_and_checkpoint_of_a_job_are_taken_as_they_are():
    job = SimpleNamespace(overrides=["seed=1"])
    for name in _names(1000 if FULL_STORMS else 200):
        folder, checkpoint = Path("/sweeps", name), Path("/sweeps", name, "last.ckpt")
        command = _launcher()._command(job, SimpleNamespace(path=folder), checkpoint)
        # The job quotes what it gets once more, as what a user types.
        for before in (command, ordered(quote_paths(command))):
            by_name = {option_name(item): item for item in before if "=" in item}
            assert _taken(by_name["hydra.run.dir"]) == str(folder)
            assert _taken(by_name["ckpt_path"]) == str(checkpoint)


def test_a_value_is_written_such_that_a_single_run_takes_the_same():
    for name in _names(1000 if FULL_STORMS else 200):
        for item in (f"data.root={quoted(name)}", f"data.root={in_quotes(name)}"):
            parsed = OverridesParser.create().parse_override(item)
            again = portable_override(item)
            assert OverridesParser.create().parse_override(again).value() == parsed.value(), item
            assert quote_paths([again]) == [again]
    assert portable_override("data.root=two\\ x") == "data.root='two x'"


def test_interpolations_of_the_line_stay_what_they_are():
    assert portable_override("noise.rate=${my_rate}") == "noise.rate=${my_rate}"
    parsed = OverridesParser.create().parse_override(portable_override("data.root=two\\ ${seed}"))
    assert OmegaConf.create({"x": parsed.value(), "seed": 3}).x == "two 3"


@pytest.mark.parametrize("item", ["hydra.job.env_set.A=\\${b}", "hydra.verbose=${seed}", "hydra.job.name='a b'"])
def test_options_of_hydra_reach_jobs_as_they_weregiven_options(item):
    launcher = _launcher([item, "hydra.sweep.dir=x", "hydra.mode=MULTIRUN", "hydra/launcher=local", "hydra.run.dir=y"])
    command = launcher._command(SimpleNamespace(overrides=[]), SimpleNamespace(path=Path("f")), None)
    assert item in command
    assert [one for one in command if one.startswith("hydra")] == [item, "hydra.run.dir='f'"]
    assert given_options(launcher.config)[0] == item


def test_what_concerns_a_sweep_is_not_passed_on():
    given = ["hydra.launcher.jobs=2", "+hydra.sweeper.params={a: 1}", "hydra/sweeper=grid", "hydra.sweep.subdir=x"]
    assert passed_on([*given, "hydra/job_logging=none", "hydra.verbose=true"]) == [
        "hydra/job_logging=none",
        "hydra.verbose=true",
    ]


def test_names_of_options():
    assert [option_name(item) for item in ("a=1", "+a.b=c=d", "++a=1", "~a", "~a=1")] == ["a", "a.b", "a", "a", "a"]
