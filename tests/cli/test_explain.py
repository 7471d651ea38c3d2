"""``alasca-train --explain``: each value with what set it."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from running import command


def explained(folder: Path, *arguments: str) -> dict[str, tuple[str, str]]:
    """Value and origin by name."""
    outcome = command(folder, "--explain", *arguments)
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    lines = [line for line in outcome.out.splitlines() if line and not line.startswith("constants: ")]
    found = {}
    for line in lines:
        name, rest = line.split(": ", 1)
        value, origin = rest.rsplit("  ", 1)
        found[name] = (value.strip(), origin.strip())
    return found


def test_each_value_names_the_file_or_option_that_set_it(tmp_path):
    values = explained(tmp_path, "data=cifar10", "method=dividemix", "optim.lr=0.3", "+trainer.foo={a:1}", "~aux.kind")
    assert values["epochs"] == ("300", "constants dividemix/cifar")
    assert values["trainer.max_epochs"] == ("300", "conf/trainer/cpu.yaml, as ${epochs}")
    assert values["step.strength_unlabelled"] == ("25.0", "constants dividemix/cifar10_symmetric")
    assert values["selector.warmup_epochs"] == ("10", "constants dividemix/cifar10")
    assert values["selector.tol"] == ("0.01", "conf/method/dividemix.yaml")
    assert values["data.num_val"] == ("5000", "conf/data/cifar10.yaml")
    assert values["data.drop_last"] == ("false", "conf/train.yaml")
    assert values["data.class_map.9"] == ("1", "conf/data/cifar10.yaml")
    assert values["aux.stages"] == ("all", "conf/aux/all.yaml")
    assert values["regularizers.alasca.strength"] == ("2.0", "conf/alasca/paper.yaml")
    assert values["optim.lr"] == ("0.3", "option optim.lr=0.3")
    assert values["optim.optimizer.lr"] == ("0.3", "conf/optim/sgd_steps.yaml, as ${optim.lr}")
    assert values["trainer.foo.a"] == ("1", "option +trainer.foo={a:1}")
    assert values["mixer"] == ("null", "conf/train.yaml")
    assert "aux.kind" not in values
    assert not any(name.startswith(("hydra", "constants")) for name in values)
    assert "unknown" not in {origin for _, origin in values.values()}
    assert list(tmp_path.iterdir()) == []


def test_presets_and_folders_of_users_are_named(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(
        "# @package _global_\ndefaults:\n  - cifar10_small\n  - /noise@second: none\nepochs: 9\n"
    )
    values = explained(tmp_path, "--config-dir", str(tmp_path / "mine"), "experiment=own")
    assert values["epochs"] == ("9", f"{tmp_path}/mine/experiment/own.yaml")
    assert values["data.batch_size"] == ("64", "conf/experiment/cifar10_small.yaml")
    assert values["second._target_"] == ("alasca_pl.noise.model.NoiseModel", "conf/noise/none.yaml")


def test_what_must_be_given_is_shown_and_not_refused(tmp_path):
    values = explained(tmp_path, "data=npz")
    assert values["data.path"] == ("(must be given)", "conf/data/npz.yaml")


def test_it_may_be_asked_as_an_option_as_well(tmp_path):
    asked = command(tmp_path, "explain=true", "method=elr")
    assert (
        asked == command(tmp_path, "--explain", "method=elr") and asked.code == 0 and "criterion.momentum" in asked.out
    )
    refused = command(tmp_path, "explain=maybe")
    assert refused.code == 1 and "explain=maybe is neither true nor false" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_it_explains_one_run_at_a_time(tmp_path):
    outcome = command(tmp_path, "-m", "--explain", "seed=0,1")
    assert outcome.code == 1
    assert "leave out -m" in outcome.err


def test_it_answers_before_torch_is_imported(tmp_path):
    np.savez(tmp_path / "noise.npz", label=np.arange(4), kind=np.str_("asymmetric"), rate=np.float64(0.4))
    script = (
        "import sys; from alasca_pl import cli; cli.train(); "
        "assert not {'torch', 'lightning', 'torchvision'} & set(sys.modules)"
    )
    arguments = ["--explain", "data=cifar10", "method=elr", "noise=from_file", "noise.path=noise.npz"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "constants elr/cifar10_asymmetric" in done.stdout


def test_help_lists_choices_of_users_only(tmp_path):
    out = command(tmp_path, "--help").out
    listed = out.partition("== Configuration groups ==")[2].partition("== Config ==")[0]
    groups = {line.split(":")[0] for line in listed.splitlines() if ": " in line}
    assert {"method", "data", "noise", "alasca"} <= groups
    assert not any("constants" in group or group.startswith("_") for group in groups)
    assert "_base" not in listed
    assert "--explain" in out
