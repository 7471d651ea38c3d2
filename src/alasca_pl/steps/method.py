"""A method: networks and the parts in its slots."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from torch import nn

from alasca_pl.core.parts import (
    Criterion,
    GradientTransform,
    InputMixer,
    NetworkPart,
    Part,
    Regularizer,
    RunPart,
    SampleSelector,
    ScanningPart,
)
from alasca_pl.models.network import Network
from alasca_pl.models.teacher import WeightAverage


class Method(nn.Module):
    """Networks and all parts that act on them.

    Args:
        networks: M networks.
        criteria: One per network.
        regularizers: One mapping by name per network.
        selector: Weights samples, or None to weight all equally.
        mixer: Mixes inputs, or None.
        teachers: One per network, or none.
        gradient_transform: Edits gradients, or None.

    Raises:
        ValueError: If the numbers of networks, criteria, regularizers and teachers do not fit.
    """

    selector: SampleSelector | None
    mixer: InputMixer | None
    gradient_transform: GradientTransform | None

    def __init__(
        self,
        networks: Sequence[Network],
        criteria: Sequence[Criterion],
        regularizers: Sequence[Mapping[str, Regularizer]] | None = None,
        selector: SampleSelector | None = None,
        mixer: InputMixer | None = None,
        teachers: Sequence[WeightAverage] = (),
        gradient_transform: GradientTransform | None = None,
    ) -> None:
        super().__init__()
        regularizers = [{} for _ in networks] if regularizers is None else regularizers
        if not networks or len(criteria) != len(networks) or len(regularizers) != len(networks):
            raise ValueError(
                f"each network needs a criterion and a mapping of regularizers, got {len(networks)} networks, "
                f"{len(criteria)} criteria, {len(regularizers)} mappings"
            )
        if len(teachers) not in (0, len(networks)):
            raise ValueError(f"got {len(teachers)} teachers for {len(networks)} networks; give one each or none")
        self.networks = nn.ModuleList(networks)
        self.criteria = nn.ModuleList(criteria)
        self.regularizers = nn.ModuleList(nn.ModuleDict(dict(mapping)) for mapping in regularizers)
        self.selector = selector
        self.mixer = mixer
        self.teachers = nn.ModuleList(teachers)
        self.gradient_transform = gradient_transform
        # Whether parts observe predictions; a phase of the run may say that they do not.
        self.observes = True

    def of_network(self, number: int) -> Iterator[tuple[str, NetworkPart]]:
        """Name and part of everything that belongs to one network."""
        yield "criterion", cast(NetworkPart, self.criteria[number])
        yield from cast(nn.ModuleDict, self.regularizers[number]).items()  # type: ignore[misc]

    def of_run(self) -> Iterator[tuple[str, RunPart]]:
        """Name and part of everything that exists once per run."""
        slots = (("selector", self.selector), ("mixer", self.mixer), ("gradient_transform", self.gradient_transform))
        yield from ((name, part) for name, part in slots if part is not None)

    def parts(self) -> Iterator[Part]:
        """Everything that fills a slot, once each."""
        of_networks = (part for number in range(len(self.networks)) for _, part in self.of_network(number))
        every: list[Part] = [*of_networks, *(part for _, part in self.of_run())]
        yield from {id(part): part for part in every}.values()

    def scanning(self) -> Iterator[tuple[str, ScanningPart, int | None]]:
        """Everything that may request scans, with its slot and the number of its network; None for parts of the run.

        A ``shared`` regularizer counts as one of the first network.
        """
        yield from ((name, part, None) for name, part in self.of_run() if isinstance(part, ScanningPart))
        seen: set[int] = set()
        for number in range(len(self.networks)):
            for name, part in self.of_network(number):
                if isinstance(part, ScanningPart) and id(part) not in seen:
                    seen.add(id(part))
                    yield name if name == "criterion" else f"regularizers.{name}", part, number
