"""What a file of unknown origin may have called is a closed set of parts."""

import importlib
import pkgutil
from pathlib import Path

import pytest
import torch
import torch.optim
import yaml
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import alasca_pl
from alasca_pl.build.trust import is_part, refuse_foreign_overrides, refuse_foreign_targets
from alasca_pl.cli import CONF_DIR
from alasca_pl.core.errors import UserError

# Functions that make a part, worked out by hand from the rooms of CONTRIBUTING.md.
READERS = {
    f"alasca_pl.data.{name}"
    for name in (
        "cifar.read_cifar", "clothing1m.read_clothing1m", "digits.read_digits", "folder.read_folder",
        "huggingface.read_huggingface", "npz.read_npz", "synthetic.read_synthetic", "table.read_table",
        "webvision.read_webvision",
    )
}  # fmt: skip
BACKBONES = {
    f"alasca_pl.models.{name}"
    for name in ("backbones.small_resnet", "backbones.torchvision_resnet", "preact.preact_resnet18")
}
LOGGER = {
    "alasca_pl.training.wandb.make_wandb_logger",
    "alasca_pl.training.loggers.make_mlflow_logger",
    "alasca_pl.training.loggers.make_tensorboard_logger",
}
# Rooms whose classes fill a slot of a config.
ROOMS = ("alasca", "data", "methods", "models", "noise", "steps", "training")


def _public(package):
    """Dotted names of all public callables that the modules of a package offer, imported ones and methods included."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if info.name.rpartition(".")[2].startswith("_") or "hydra_plugins" in info.name:
            continue
        try:
            module = importlib.import_module(info.name)
        # Modules of torch that need what is not installed.
        except Exception:
            continue
        for name, value in vars(module).items():
            if callable(value):
                yield f"{info.name}.{name}", value
                if isinstance(value, type) and value.__module__ == info.name:
                    yield from ((f"{info.name}.{name}.{one}", getattr(value, one)) for one in vars(value))


def test_functions_of_this_package_are_called_only_if_they_make_a_part():
    found = {name for name, value in _public(alasca_pl) if not isinstance(value, type) and is_part(name)}
    homes = {f"{value.__module__}.{value.__name__}" for name, value in _public(alasca_pl) if name in found}
    assert homes == READERS | BACKBONES | LOGGER


def test_classes_of_this_package_are_called_only_if_they_fill_a_slot():
    modules = {value.__module__ for name, value in _public(alasca_pl) if isinstance(value, type) and is_part(name)}
    assert modules >= {"alasca_pl.methods.gce", "alasca_pl.noise.human", "alasca_pl.steps.mixmatch"}
    assert {module.split(".")[1] for module in modules if module.startswith("alasca_pl.")} <= {*ROOMS, "core"}
    # Those that write files, or read them by names, are none.
    assert not modules & {"alasca_pl.training.callbacks.history", "alasca_pl.training.callbacks.checkpoints"}
    assert not modules & {"alasca_pl.noise.labels", "alasca_pl.data.images", "alasca_pl.data.prepared"}


def test_of_torch_only_optimizers_and_schedules_are_called():
    listed = [
        *_public(torch.optim),
        *_public(torch.nn),
        *((f"torch.{name}", getattr(torch, name)) for name in dir(torch)),
    ]
    assert len(listed) > 2000
    passed = {name: value for name, value in listed if is_part(name)}
    assert all(isinstance(value, type) and issubclass(value, Optimizer | LRScheduler) for value in passed.values())
    assert is_part("torch.optim.SGD") and is_part("torch.optim.lr_scheduler.MultiStepLR")


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "torch.load", "torch.hub.load", "subprocess.run", "alasca_pl.data.archives.extract",
        "alasca_pl.data.archives.Path", "alasca_pl.data.archives.shutil.rmtree", "alasca_pl.core.files.write_json",
        "alasca_pl.training.callbacks.history.History", "alasca_pl.noise.labels.NoisyLabels.save",
        "alasca_pl.cli.__main__.train", "alasca_pl.methods.gce.GeneralisedCrossEntropy.forward", "torch.optim.adam.torch.load",
        "alasca_pl.build.make.make", "hydra.utils.instantiate", "lightning.pytorch.loggers.WandbLogger", "alasca_pl.methods",
        "torch.optim.sgd", "", "alasca_pl.methods..gce", None, 3, ["os.system"], {"a": 1},
    ],
)  # fmt: skip
def test_nothing_else_is_a_part(target):
    assert not is_part(target)
    with pytest.raises(UserError, match="trust=true"):
        refuse_foreign_targets({"criterion": [{"x": {"_target_": target}}]}, Path("last.ckpt"))


def test_all_that_the_configs_of_this_package_call_are_parts():
    def targets(value):
        if isinstance(value, dict):
            yield from ([value["_target_"]] if "_target_" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from targets(item)

    files = [file for file in CONF_DIR.rglob("*.yaml") if "hydra" not in file.relative_to(CONF_DIR).parts]
    named = {target for file in files for target in targets(yaml.safe_load(file.read_text()))}
    assert len(named) > 30
    assert [target for target in named if not is_part(target)] == []


@pytest.mark.parametrize(
    "override",
    [
        "+callbacks.x={_target_: os.system, command: touch}",
        "+logger.x={nested: [{_target_: os.system}]}",
        "callbacks.progress._target_=os.system",
        "+callbacks.x={_target_: '${y}'}",
        "+callbacks.x={_target_: null}",
        # Resolvers by other names, e.g. with +r=oc, and in other brackets.
        "+callbacks.x='${${r}.create:\"{_target_: os.system, command: touch}\"}'",
        "+callbacks.x='${oc.create:\"{_target_: os.system}\"}'",
        "data.root=${oc.env:HOME}",
        "+x=${a.${b}}",
        # A sweep's values become options of its jobs.
        "+callbacks.x=choice({_target_: os.system},{})",
        "+callbacks.x={_target_: os.system},{a: 1}",
        "+callbacks.x=glob(*)",
        "+hydra.callbacks.x={_target_: os.system}",
        "++hydra.callbacks.x._target_=os.system",
        "+callbacks@hydra.callbacks=default",
        "hydra/launcher=basic",
        "hydra.launcher._target_=os.system",
        "hydra/sweeper=basic",
        "hydra.sweeper._target_=os.system",
        "hydra.searchpath=[/tmp]",
        "hydra.run.dir=/tmp/x",
        "method=../../evil",
        "callbacks[x]=1",
        "criterion={_target_: alasca_pl.data.archives.extract, archive: a.zip, target: b}",
        "a b",
    ],
)
def test_options_that_call_or_may_call_something_are_refused(override):
    with pytest.raises(UserError, match="trust=true"):
        refuse_foreign_overrides(["seed=1", override], Path("last.ckpt"))


@pytest.mark.parametrize(
    "override",
    [
        "method=gce", "optim.lr=0.1", "+trainer.max_time=1", "~logger", "optim.milestones=[1,2]", "data.root='it\\'s'",
        "noise.seed=${seed}", "+x='${optim.lr} of ${seed}'", "ckpt_path=null", "logger=csv",
        "criterion={_target_: alasca_pl.methods.gce.GeneralisedCrossEntropy, q: 0.5}",
        "optim.optimizer._target_=torch.optim.AdamW",
    ],
)  # fmt: skip
def test_plain_options_are_repeated(override):
    refuse_foreign_overrides([override], Path("last.ckpt"))
