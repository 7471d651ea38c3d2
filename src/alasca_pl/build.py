"""Composition root: from a resolved config to data, module and trainer. The only file that knows all the others."""

import contextlib
import functools
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from torch import nn

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.core.errors import UserError
from alasca_pl.core.parts import Criterion, Regularizer
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import DataFacts
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.models.network import Network, check_shapes, kaiming_init
from alasca_pl.models.norms import norm_layer
from alasca_pl.training.callbacks.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from alasca_pl.training.callbacks.guards import ParallelGuard, RankRng
from alasca_pl.training.callbacks.history import History
from alasca_pl.training.callbacks.monitor import NoiseMonitor
from alasca_pl.training.callbacks.selection import SelectionRefresh
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.optim import OptimConfig
from alasca_pl.training.parts import Parts

log = logging.getLogger(__name__)

Config = dict[str, Any]

# A config names the classes that are called with its values; from a stranger's checkpoint only these are called.
_TRUSTED = tuple(
    f"{package}."
    for package in (
        "alasca_pl.alasca", "alasca_pl.data", "alasca_pl.methods", "alasca_pl.models", "alasca_pl.noise",
        "alasca_pl.training.steps", "alasca_pl.training.mixmatch", "torch.optim",
    )
)  # fmt: skip

# Values of the data config that are meant for its reader, wherever that has an argument of the name.
_FOR_READER = ("root", "path", "download", "extract_to")
# Values of the data config that other groups refer to.
_FOR_OTHERS = ("class_map", "class_groups")
# Slots whose part may need the noise rate.
_RATE_SLOTS = ("selector", "gradient_transform")


def make(node: Mapping[str, Any], **offers: Any) -> Any:
    """Call a node's ``_target_`` with the node's values.

    Args:
        node: A mapping with ``_target_``.
        offers: Values that are passed on if the target has an argument of that name and the node does not give it. So a
            part asks for ``num_samples`` or ``num_classes`` by naming it, and its yaml need not repeat them.

    Raises:
        UserError: If the target does not exist or refuses its values.
    """
    # Hydra's own instantiate copies arguments into a config and turns dataclasses into mappings; data and networks must
    # arrive as they are.
    name = node["_target_"]
    try:
        target = hydra.utils.get_object(name)
    except (ImportError, ValueError) as error:
        raise UserError(f"_target_ {name!r} cannot be imported: {error}") from error
    arguments = {key: _value(value) for key, value in node.items() if key not in ("_target_", "_partial_")}
    parameters = inspect.signature(target).parameters
    arguments |= {key: value for key, value in offers.items() if key in parameters and key not in arguments}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [key for key in arguments if key not in parameters and not takes_any]
    if unknown:
        raise UserError(f"{name} has no argument {', '.join(unknown)}; it takes {', '.join(parameters)}")
    if node.get("_partial_"):
        return functools.partial(target, **arguments)
    try:
        return target(**arguments)
    except (ValueError, OSError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error
    except (TypeError, AttributeError) as error:
        plain = {key: value for key, value in node.items() if not isinstance(value, Mapping)}
        raise UserError(f"{name} refuses its arguments {plain}: {error}") from error


def _is_trusted(target: str) -> bool:
    if not target.startswith(_TRUSTED):
        return False
    try:
        called = hydra.utils.get_object(target)
    except (ImportError, ValueError):
        return False
    # A dotted path may lead through a trusted module to what that module itself imported.
    return f"{getattr(called, '__module__', '')}.".startswith(_TRUSTED)


def refuse_foreign_targets(value: Any, path: Path) -> None:
    """Refuse a config that would call anything but parts of this package and optimisers.

    Args:
        value: The config, or a part of it.
        path: Where it is from, for the message.

    Raises:
        UserError: If it names a foreign ``_target_`` at any depth.
    """
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not _is_trusted(str(target)):
            raise UserError(
                f"the config in {path} would call {target}, which is not part of this package; if you know where the "
                "file comes from, allow it with trust=true"
            )
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            refuse_foreign_targets(item, path)


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return make(value) if "_target_" in value else {key: _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return value


def build_data(config: Config) -> NoisyDataModule:
    """Read the data, split it and draw the noise.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong or the data cannot be used.
    """
    data = {name: value for name, value in config["data"].items() if name not in (*_FOR_READER, *_FOR_OTHERS)}
    source = {name: config["data"][name] for name in _FOR_READER if name in config["data"]}
    reader = make({**data.pop("reader"), "_partial_": True}, **source)
    return make(data, reader=reader, noise=make(config["noise"]), seed=config["seed"])


def build_module(config: Config, facts: DataFacts) -> NoisyLabelModule:
    """Make networks, parts and the module; needs no data.

    Auxiliary heads are made last and from their own random stream, so that the main network starts from the same
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


def _build_module(config: Config, facts: DataFacts) -> NoisyLabelModule:
    count = config["num_networks"]
    if not isinstance(count, int) or count < 1:
        raise UserError(f"num_networks must be a whole number of at least 1, got {count!r}")
    offers = {
        "num_samples": facts.num_samples,
        "num_classes": facts.num_classes,
        "class_counts": facts.class_counts,
        "num_networks": count,
        "seed": config["seed"],
    }
    config = resolve_oracle(config, facts)
    if config["criterion"] is None:
        raise UserError("no criterion is chosen; choose a method, e.g. method=ce")
    criteria: list[Criterion] = [make(config["criterion"], **offers) for _ in range(count)]
    nodes = {name: node for name, node in config["regularizers"].items() if node}
    first: dict[str, Regularizer] = {name: make(node, **offers) for name, node in nodes.items()}
    regularizers = [first] + [
        {name: first[name] if first[name].shared else make(node, **offers) for name, node in nodes.items()}
        for _ in range(count - 1)
    ]
    selector = make(config["selector"], **offers) if config["selector"] else None
    mixer = make(config["mixer"], **offers) if config["mixer"] else None
    transform = make(config["gradient_transform"], **offers) if config["gradient_transform"] else None

    networks = [_main_network(config, facts, number) for number in range(count)]
    asking = [("criterion", criteria[0]), *regularizers[0].items(), ("selector", selector), ("mixer", mixer)]
    needs = {need: name for name, part in asking if part is not None for need in part.needs}
    if "taps" in needs:
        for network in networks:
            network.enable_taps()
    if "aux_logits" in needs:
        _attach_heads(config, facts, networks, needs["aux_logits"])
    elif config["aux"]["stages"]:
        log.info("no part uses auxiliary heads, so none is built")
    for network in networks:
        check_shapes(network, facts.image_shape)

    teachers = [make(config["teacher"], network=network, **offers) for network in networks] if config["teacher"] else []
    parts = Parts(networks, criteria, regularizers, selector, mixer, teachers, transform)
    optim = OptimConfig(
        make(config["optim"]["optimizer"]),
        make(config["optim"]["scheduler"]) if config["optim"]["scheduler"] else None,
    )
    rule, average = config["predict"]["rule"], config["predict"]["average"]
    module = NoisyLabelModule(parts, make(config["step"], **offers), optim, facts, rule, average, config)
    try:
        # Made once on trial, so that a value which the optimiser refuses shows now and not when training starts.
        module.configure_optimizers()
    except TypeError as error:
        raise UserError(f"optim: {error}") from error
    return module


def oracle_slots(config: Config) -> list[str]:
    """Names of the slots that are told the true noise rate by ``noise_rate: oracle``."""
    return [name for name in _RATE_SLOTS if (config.get(name) or {}).get("noise_rate") == "oracle"]


def resolve_oracle(config: Config, facts: DataFacts) -> Config:
    """Put the true noise rate where a slot's ``noise_rate`` is ``oracle``; the only way in which anything learns it.

    Raises:
        UserError: If nobody knows the true rate.
    """
    slots = oracle_slots(config)
    if slots and facts.realised_rate is None:
        raise UserError(
            f"{slots[0]}.noise_rate is oracle, but the clean labels of {facts.name} are not known; "
            f"give a number or {slots[0]}.noise_rate=estimated"
        )
    return {**config, **{name: {**config[name], "noise_rate": facts.realised_rate} for name in slots}}


def absorb_files(config: Config) -> Config:
    """Replace names of files by what is in them, where a part says how: a run must open without the files.

    A part says so by a static method ``absorb`` that takes and returns its node of the config.

    Raises:
        UserError: If a file cannot be used.
    """

    def absorbed(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        node = {name: absorbed(item) for name, item in value.items()}
        try:
            target = hydra.utils.get_object(node["_target_"]) if "_target_" in node else None
        except (ImportError, ValueError):
            # Said with a better message when it is called.
            target = None
        if target is None or not hasattr(target, "absorb"):
            return node
        try:
            return target.absorb(node)
        except ValueError as error:
            raise UserError(str(error)) from error

    return absorbed(config)


def connect(module: NoisyLabelModule, data: NoisyDataModule) -> None:
    """Let the data bring in training batches what the method asks for.

    Raises:
        UserError: If a view is unknown.
    """
    mixer = module.parts.mixer
    try:
        data.request(module.step.views, mixer is not None and mixer.partners == "same_label")
    except ValueError as error:
        raise UserError(str(error)) from error


@contextlib.contextmanager
def _random_stream(seed: int, *names: str | int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *names))
        yield


def _main_network(config: Config, facts: DataFacts, number: int) -> Network:
    with _random_stream(config["seed"], "network", number):
        network = Network(make(config["model"]["backbone"], in_channels=facts.image_shape[0]), facts.num_classes)
        if config["model"]["backbone"].get("pretrained") and config["model"]["init"] != "library":
            raise UserError("model.init would overwrite the pretrained weights; set model.init=library")
        _initialise(network, config["model"]["init"])
    return network


def _initialise(module: nn.Module, rule: str) -> None:
    if rule not in ("library", "kaiming"):
        raise UserError(f"unknown model.init {rule!r}; choose one of library, kaiming")
    if rule == "kaiming":
        kaiming_init(module)


def _attach_heads(config: Config, facts: DataFacts, networks: Sequence[Network], asker: str) -> None:
    aux = config["aux"]
    if aux["width"] is not None and not (isinstance(aux["width"], int) and aux["width"] >= 1):
        raise UserError(f"aux.width must be a whole number of at least 1 or null, got {aux['width']!r}")
    for number, network in enumerate(networks):
        channels, reductions = network.backbone.channels, network.backbone.reductions
        stages = resolve_stages(aux["stages"], len(channels))
        if not stages:
            raise UserError(f"{asker} needs auxiliary heads, but aux.stages is empty; choose aux=all or aux=last")
        heads = {}
        with _random_stream(config["seed"], "heads", number):
            for stage in stages:
                heads[stage] = AuxiliaryHead(
                    kind=aux["kind"],
                    channels=channels[stage - 1],
                    stride=max(1, reductions[-1] // reductions[stage - 1]),
                    width=aux["width"] or network.feature_size,
                    num_classes=facts.num_classes,
                    norm=norm_layer(config["model"]["norm"]),
                )
                _initialise(heads[stage], config["model"]["init"])
        network.attach(heads)


def resolve_stages(stages: str | int | Sequence[int] | None, count: int) -> list[int]:
    """Turn the value of ``aux.stages`` into stage numbers.

    Args:
        stages: ``all`` (every stage but the last, which carries the main head), ``last`` (the last of these) or a list
            of numbers from 1, or one number.
        count: Number of stages of the network.

    Raises:
        UserError: If a stage does not exist.
    """
    available = list(range(1, count))
    if stages == "all":
        return available
    if stages == "last":
        return available[-1:]
    listed = [stages] if isinstance(stages, str | int) else list(stages or ())
    if not all(isinstance(stage, int) for stage in listed):
        raise UserError(f"unknown aux.stages {stages!r}; choose all, last or a list of numbers, e.g. aux.stages=[1,2]")
    chosen = sorted({int(stage) for stage in listed})
    for stage in chosen:
        if stage not in available:
            raise UserError(
                f"aux.stages names stage {stage}, but this network carries auxiliary heads after stages "
                f"{', '.join(map(str, available)) or 'none'}; stage {count} carries the main head"
            )
    return chosen


def build_trainer(config: Config, data: NoisyDataModule, folder: Path) -> L.Trainer:
    """Make the trainer with its callbacks and loggers.

    Args:
        config: Resolved config as plain containers.
        data: The data.
        folder: The run's folder.

    Raises:
        UserError: If a value is wrong.
    """
    accumulated = config["trainer"].get("accumulate_grad_batches", 1)
    if accumulated != 1:
        raise UserError(
            f"trainer.accumulate_grad_batches is {accumulated}, but schedules and selections go by batches; "
            "leave it at 1 and choose another data.batch_size"
        )
    identity = {
        "the config": config,
        "the noisy labels": data.facts.noise_digest,
        "the run's folder": str(folder),
    }
    try:
        checkpoints = checkpoint_callbacks(
            folder / "checkpoints", "val" in data.sizes, config["checkpoint"]["every_n_steps"]
        )
        # Without a part to measure on there is nothing to validate, and Lightning would warn of it.
        nothing = {} if data.facts.eval_parts else {"limit_val_batches": 0}
        return L.Trainer(
            **{**config["trainer"], **nothing},
            logger=[make(node, save_dir=str(folder), config=config) for node in config["logger"].values() if node]
            or False,
            callbacks=[
                ParallelGuard(identity),
                SelectionRefresh(),
                NoiseMonitor(data.noisy_labels),
                History(folder / "metrics.csv"),
                *(make(node) for node in config["callbacks"].values() if node),
                RankRng(config["seed"]),
                *checkpoints,
            ],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(folder),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except (ValueError, TypeError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise error if isinstance(error, UserError) else UserError(f"trainer: {error}") from error
