"""From a resolved config to a method's parts and the module; needs no data."""

import functools
import inspect
import logging
import os
import shutil
from typing import TypeVar

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from alasca_pl.build.make import Config, find_target, make, make_part
from alasca_pl.build.networks import attach_extra_heads, attach_heads, check_width, main_network, renewed_network
from alasca_pl.build.schema import check_values, oracle_slots
from alasca_pl.core.errors import UserError
from alasca_pl.core.parts import Criterion, GradientTransform, InputMixer, Part, Regularizer, SampleSelector
from alasca_pl.core.types import DataFacts
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.models.network import Network, check_shapes
from alasca_pl.models.teacher import WeightAverage
from alasca_pl.steps.method import Method
from alasca_pl.steps.step import Step
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.optim import OptimConfig
from alasca_pl.training.phases import Phase

log = logging.getLogger(__name__)
_CONTRACTS: dict[str, type[Part]] = {
    "criterion": Criterion,
    "selector": SampleSelector,
    "mixer": InputMixer,
    "gradient_transform": GradientTransform,
}
_COMPILERS = ("g++", "clang++", "c++", "cl")
_Part = TypeVar("_Part")
# Groups of a config that make no part of a method.
_NOT_OF_THE_METHOD = ("data", "noise", "trainer", "logger", "callbacks")


def build_module(config: Config, facts: DataFacts) -> NoisyLabelModule:
    """Make networks, parts and the module; needs no data.

    Auxiliary heads are made last and with their own random stream, so that the main network starts from the same
    weights with and without them. Networks of a pair differ by their stream only.

    Args:
        config: Resolved config as plain containers.
        facts: What is known of the data.

    Raises:
        UserError: If a value is wrong or values do not fit each other.
    """
    try:
        return _build_module(config, facts)
    except ValueError as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error


def check_contracts(config: Config) -> None:
    """Refuse classes in the slots of a method that do not follow the slot's contract; needs no data.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If there is such a class.

    Example:
        >>> check_contracts({"criterion": {"_target_": "torch.nn.CrossEntropyLoss"}})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        alasca_pl.core.errors.UserError: criterion: torch.nn.CrossEntropyLoss does not inherit alasca_pl.core.parts.Criterion...
    """
    nodes: list[tuple[str, type[Part], Config | None]] = [
        (name, contract, config.get(name)) for name, contract in _CONTRACTS.items()
    ]
    nodes += [(f"regularizers.{name}", Regularizer, node) for name, node in config.get("regularizers", {}).items()]
    for slot, contract, node in nodes:
        if not node:
            continue
        try:
            target = find_target(node["_target_"])
        except UserError:
            # Calling it raises a better message.
            continue
        # What a function returns is not known before it is called.
        if isinstance(target, type) and not issubclass(target, contract):
            arguments = ", ".join(list(inspect.signature(contract.forward).parameters)[1:])
            raise UserError(
                f"{slot}: {node['_target_']} does not inherit {contract.__module__}.{contract.__name__}; a class of your own "
                f"for this slot does, and has forward({arguments}), see the documentation of {contract.__name__}"
            )


def _build_module(config: Config, facts: DataFacts) -> NoisyLabelModule:
    check_values({name: value for name, value in config.items() if name not in _NOT_OF_THE_METHOD})
    count = config["num_networks"]
    offers = {
        "num_samples": facts.num_samples,
        "num_classes": facts.num_classes,
        "class_counts": facts.class_counts,
        "num_networks": count,
        "seed": config["seed"],
    }
    config = resolve_oracle(config, facts)
    criteria = [make_part("criterion", Criterion, config["criterion"], **offers) for _ in range(count)]
    nodes = {name: node for name, node in config["regularizers"].items() if node}

    def regularizer(name: str) -> Regularizer:
        return make_part(f"regularizers.{name}", Regularizer, nodes[name], **offers)

    first = {name: regularizer(name) for name in nodes}
    regularizers = [first] + [
        {name: first[name] if first[name].shared else regularizer(name) for name in nodes} for _ in range(count - 1)
    ]

    def part_of_the_run(slot: str, contract: type[_Part]) -> _Part | None:
        return make_part(slot, contract, config[slot], **offers) if config[slot] else None

    selector = part_of_the_run("selector", SampleSelector)
    mixer = part_of_the_run("mixer", InputMixer)
    transform = part_of_the_run("gradient_transform", GradientTransform)

    networks = [main_network(config, facts, number) for number in range(count)]
    asking = [("criterion", criteria[0]), *regularizers[0].items(), ("selector", selector), ("mixer", mixer)]
    needs = {need: name for name, part in asking if part is not None for need in part.needs}
    if "norm_outputs" in needs:
        for network in networks:
            network.enable_norm_outputs()
    if "aux_features" in needs:
        check_width(config, networks[0].feature_size, needs["aux_features"])
    if "aux_logits" in needs:
        attach_heads(config, facts, dict(enumerate(networks)), needs["aux_logits"])
    elif config["aux"]["stages"]:
        log.info("no part uses auxiliary heads, so none is built")
    step = make_part("step", Step, config["step"], **offers)  # type: ignore[type-abstract]
    if hasattr(step, "extra_heads"):
        attach_extra_heads(config, facts, networks, step.extra_heads)
    for network in networks:
        # After the heads were added, and before teachers copy the networks.
        # Configs that were recorded before there was this option have none.
        network.use_memory_format(config["model"].get("memory_format", "contiguous"))
        check_shapes(network, facts.image_shape)

    node = config["teacher"]
    teachers = [make_part("teacher", WeightAverage, node, network=each, **offers) for each in networks] if node else []
    method = Method(networks, criteria, regularizers, selector, mixer, teachers, transform)
    optim = OptimConfig(
        make(config["optim"]["optimizer"]),
        make(config["optim"]["scheduler"]) if config["optim"]["scheduler"] else None,
    )
    rule, average = config["predict"]["rule"], config["predict"]["average"]
    _check_others(criteria[0], count, step)
    # Configs that were recorded before there was this option have none.
    phases = {
        name: make_part(f"phases.{name}", Phase, node, **offers)
        for name, node in config.get("phases", {}).items()
        if node
    }
    for part in {part for phase in phases.values() for part in (*phase.renew, *(phase.train or ()))}:
        # Raises if this network has no such part.
        networks[0].part(part)
    renewed = functools.partial(renewed_network, config, facts, "aux_logits" in needs)
    module = NoisyLabelModule(method, step, optim, facts, rule, average, config, list(phases.values()), renewed)
    # Built once as a check, so that a value which an optimiser rejects raises now and not when training starts.
    own = {f"phases.{name}": phase.start for name, phase in phases.items() if phase.optimizer is not None}
    for group, epoch in {"optim": 0, **own}.items():
        try:
            made = dict(zip(("optimizer", "scheduler"), module.optimizer_at(epoch)))
        except (TypeError, AttributeError) as error:
            raise UserError(f"{group}: {error}") from error
        for slot, contract in (("optimizer", Optimizer), ("scheduler", LRScheduler)):
            if made[slot] is not None and not isinstance(made[slot], contract):
                node = config["optim"] if group == "optim" else config["phases"][group.removeprefix("phases.")]
                target = node[slot]["_target_"]
                raise UserError(f"{group}.{slot}: {target} gives no {contract.__name__} of torch")
    return module


def _check_others(criterion: Criterion, num_networks: int, step: Step) -> None:
    name = type(criterion).__name__
    if criterion.others == "views" and len(step.views) < 2:
        raise UserError(f"criterion: {name} compares views of each sample; set step.views=[default,default]")
    if criterion.others == "networks" and num_networks < 2:
        raise UserError(f"criterion: {name} compares networks; set num_networks=2")


def compile_networks(module: NoisyLabelModule, config: Config, batch_size: int) -> None:
    """Compile the networks if ``model.compile`` asks for it; call it when nothing but training is left to do.

    Args:
        module: Made from the config.
        config: Resolved config as plain containers.
        batch_size: Size of a process's batches.

    Raises:
        UserError: If this machine cannot compile.
    """
    # Configs that were recorded before there was this option have none.
    if not config["model"].get("compile", False):
        return
    on_gpu = config["trainer"].get("accelerator") in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    if not on_gpu and not any(shutil.which(name) for name in (os.environ.get("CXX", ""), *_COMPILERS) if name):
        raise UserError("model.compile=true needs a C++ compiler such as g++ on a CPU; install one, or leave it out")
    networks: list[Network] = list(module.method.networks)  # type: ignore[arg-type]
    # Not any(), which would compile the first only.
    if sum(network.compile_for(batch_size) for network in networks):
        log.info("networks are compiled in the first steps, which take up to minutes")
    else:
        log.info("model.compile: this method needs second derivatives, so its networks are not compiled")


def resolve_oracle(config: Config, facts: DataFacts) -> Config:
    """Put the true noise rate where a slot's ``noise_rate`` is ``oracle``, and the true transition matrix where the criterion's
    ``matrix`` is; no method gets them in another way.

    Raises:
        UserError: If the truth is unknown.
    """
    told = dict(config)
    for slot in oracle_slots(config):
        name, example = ("matrix", "rows of numbers") if slot == "criterion" else ("noise_rate", "a number")
        if facts.realised_rate is None:
            raise UserError(
                f"{slot}.{name} is oracle, but the clean labels of {facts.name} are not known; "
                f"give {example} or {slot}.{name}=estimated"
            )
        flat, count = facts.realised_matrix, facts.num_classes
        rows = [list(flat[start : start + count]) for start in range(0, len(flat), count)]
        told[slot] = {**config[slot], name: rows if slot == "criterion" else facts.realised_rate}
    return told


def connect(module: NoisyLabelModule, data: NoisyDataModule) -> None:
    """Configure the data so that training batches contain what the method needs.

    Raises:
        UserError: If a view is unknown.
    """
    mixer = module.method.mixer
    try:
        data.request(module.step.views, mixer is not None and mixer.partners == "same_label")
    except ValueError as error:
        raise UserError(str(error)) from error
