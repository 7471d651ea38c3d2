"""From a resolved config to networks and their heads, each with random streams of its own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.build.make import Config, make_part
from alasca_pl.core.errors import UserError
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import DataFacts
from alasca_pl.models.backbones import Backbone
from alasca_pl.models.network import Network, initialise
from alasca_pl.models.norms import norm_layer

_NO_MEMORY = ("allocate memory", "out of memory", "overflow", "not enough memory")


@contextlib.contextmanager
def random_stream(seed: int, *names: str | int) -> Iterator[None]:
    """Draw from a stream of its own within a block, and leave the others as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *names))
        yield


@contextlib.contextmanager
def _within_memory() -> Iterator[None]:
    """Say in one line that a network is too large; torch has an error of its own for each kind of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if not isinstance(error, MemoryError) and not any(word in said for word in _NO_MEMORY):
            raise
        raise UserError(
            f"the network does not fit into memory ({said.splitlines()[0] if said else 'none is left'}); "
            "choose a smaller one by model.backbone"
        ) from error


def main_network(config: Config, facts: DataFacts, number: int, *again: str | int) -> Network:
    """Make network ``number`` of a run without auxiliary heads; further names give a stream of their own."""
    with random_stream(config["seed"], "network", number, *again), _within_memory():
        network = Network(
            make_part("model.backbone", Backbone, config["model"]["backbone"], in_channels=facts.image_shape[0]),
            facts.num_classes,
        )
        if config["model"]["backbone"].get("pretrained") and config["model"]["init"] != "library":
            raise UserError("model.init would overwrite the pretrained weights; set model.init=library")
        initialise(network, config["model"]["init"])
    return network


def renewed_network(config: Config, facts: DataFacts, has_heads: bool, number: int, start: int) -> Network:
    """Make a network as at the start of the run, but with weights from a stream of the phase that begins at an epoch."""
    network = main_network(config, facts, number, "phase", start)
    if has_heads:
        attach_heads(config, facts, {number: network}, "a phase", "phase", start)
    return network


def attach_heads(
    config: Config, facts: DataFacts, networks: Mapping[int, Network], asker: str, *again: str | int
) -> None:
    """Attach the auxiliary heads of group aux, which the part ``asker`` needs, to networks by their numbers."""
    aux = config["aux"]
    for number, network in networks.items():
        channels, reductions = network.backbone.channels, network.backbone.reductions
        stages = resolve_stages(aux["stages"], len(channels))
        if not stages:
            raise UserError(f"{asker} needs auxiliary heads, but aux.stages is empty; choose aux=all or aux=last")
        heads = {}
        with random_stream(config["seed"], "heads", number, *again):
            for stage in stages:
                heads[stage] = AuxiliaryHead(
                    kind=aux["kind"],
                    channels=channels[stage - 1],
                    stride=max(1, reductions[-1] // reductions[stage - 1]),
                    width=aux["width"] or network.feature_size,
                    num_classes=facts.num_classes,
                    norm=norm_layer(config["model"]["norm"]),
                )
                initialise(heads[stage], config["model"]["init"])
        network.attach(heads)


def attach_extra_heads(
    config: Config, facts: DataFacts, networks: Sequence[Network], make_heads: Callable[..., list[nn.Module]]
) -> None:
    """Attach the heads that a step asks for."""
    for number, network in enumerate(networks):
        with random_stream(config["seed"], "extra heads", number):
            network.attach_extra(
                make_heads(network.feature_size, facts.num_classes, norm_layer(config["model"]["norm"]))
            )
            initialise(network.extra_heads, config["model"]["init"])


def check_width(config: Config, width: int, asker: str) -> None:
    """Refuse auxiliary heads that are not as wide as the main head's features."""
    own = config["aux"]["width"]
    if own not in (None, width):
        raise UserError(
            f"{asker} compares features of the heads with those of the main head, {width} wide; aux.width={own} makes them "
            "another width, set aux.width=null"
        )


def resolve_stages(stages: Literal["all", "last"] | int | Sequence[int] | None, count: int) -> list[int]:
    """Convert the value of ``aux.stages`` to stage numbers.

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
    listed = [stages] if isinstance(stages, int) else list(stages or ())
    chosen = sorted(set(listed))
    for stage in chosen:
        if stage not in available:
            raise UserError(
                f"aux.stages names stage {stage}, but this network carries auxiliary heads after stages "
                f"{', '.join(map(str, available)) or 'none'}; stage {count} carries the main head"
            )
    return chosen
