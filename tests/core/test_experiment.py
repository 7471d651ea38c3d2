"""Which configs mean the same job."""

import copy
import random
from typing import Any

import pytest

from alasca_pl.core.experiment import identity, job_digest, places, same_job
from running import config_for


def shuffled(node: Any, rng: random.Random) -> Any:
    """The same content in another order of keys."""
    if isinstance(node, dict):
        names = list(node)
        rng.shuffle(names)
        return {name: shuffled(node[name], rng) for name in names}
    return [shuffled(item, rng) for item in node] if isinstance(node, list) else node


def leaves(node: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in node.items():
        found += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [f"{prefix}{name}"]
    return found


def put(config: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *path, last = name.split(".")
    node = changed
    for key in path:
        node = node.setdefault(key, {})
    node[last] = value
    return changed


FREE = {
    "ckpt_path": "x", "logger": {"csv": {"_target_": "y"}}, "callbacks.other": {"a": 1}, "report.last_epochs": 3,
    "data.num_workers": 7, "data.eval_batch_size": 9, "checkpoint.every_n_steps": 5,
    "threads": 3, "trainer.accelerator": "gpu", "trainer.strategy": "ddp", "trainer.enable_progress_bar": True,
}  # fmt: skip


def test_the_digest_is_the_same_whatever_the_order_of_keys_and_the_form_of_numbers():
    config = config_for("method=elr", "alasca=paper")
    digest = job_digest(config)
    for seed in range(20):
        assert job_digest(shuffled(config, random.Random(seed))) == digest
    assert job_digest(put(config, "epochs", 3.0)) == job_digest(put(config, "epochs", 3)) == digest
    assert len(digest) == 12


def test_the_order_of_overrides_makes_no_difference():
    one = ["method=gce", "seed=3", "noise.rate=0.4", "alasca=paper", "optim.lr=0.1"]
    digests = set()
    for seed in range(5):
        rng = random.Random(seed)
        order = one[:]
        rng.shuffle(order)
        digests.add(job_digest(config_for(*order)))
    assert len(digests) == 1


@pytest.mark.parametrize("name", FREE)
def test_what_cannot_change_the_result_does_not_count(name):
    config = config_for()
    assert job_digest(put(config, name, FREE[name])) == job_digest(config)


def test_everything_else_counts():
    config = config_for("method=elr", "alasca=paper")
    free = ("ckpt_path", "logger", "callbacks", "report", "checkpoint", "data.root", "data.num_workers", "data.check")
    free += ("data.eval_batch_size", "data.download", "data.extract_to", "trainer.accelerator", "trainer.strategy")
    free += ("threads", "trainer.log_every_n_steps", "trainer.enable_", "trainer.benchmark")
    digest = job_digest(config)
    counted = [name for name in leaves(config) if not name.startswith(free)]
    counted = [name for name in counted if not name.endswith("_paths_")]
    assert len(counted) > 60
    for name in counted:
        assert job_digest(put(config, name, "something else")) != digest, name


@pytest.mark.parametrize("override", ["trainer.devices=2", "trainer.num_nodes=2", "epochs=7", "trainer.max_epochs=7"])
def test_processes_and_epochs_count(override):
    assert job_digest(config_for(override)) != job_digest(config_for())


def test_data_without_a_declared_size_count_by_their_names():
    def own(path: str) -> dict[str, Any]:
        return config_for("data=npz", f"data.path={path}")

    assert job_digest(own("/a/one.npz")) == job_digest(own("/b/one.npz"))
    assert job_digest(own("/a/one.npz")) != job_digest(own("/a/two.npz"))
    assert places(own("/a/one.npz")) == {"data.path": "/a/one.npz"}
    assert not any("_paths_" in name for name in identity(own("/a/one.npz")))
    # Whether a data set of a declared size is the right one is checked when it is read.
    known = config_for("data=cifar10", "model=small")
    assert job_digest(put(known, "data.root", "/elsewhere/other")) == job_digest(known)
    assert places(known) == {}
    assert identity(config_for("data=folder", "data.root=/a/cats"))["data.root"] == "cats"


def test_an_option_added_later_counts_with_its_default():
    recorded = config_for("method=elr")
    added = {"criterion.new": 0.0, "data.other": "as before"}
    default = copy.deepcopy(recorded)
    for name, value in added.items():
        default = put(default, name, value)
    assert job_digest(recorded) != job_digest(default)
    assert not same_job(recorded, default)
    assert same_job(recorded, default, default)
    # Who asks for another value does not ask for the recorded job.
    assert not same_job(recorded, put(default, "criterion.new", 1.0), default)
    # Nor is a job the same whose recorded values are others.
    assert not same_job(put(recorded, "seed", 5), default, default)


def test_an_option_that_is_gone_makes_another_job():
    recorded = put(config_for(), "criterion.gone", 1)
    assert not same_job(recorded, config_for(), config_for())
