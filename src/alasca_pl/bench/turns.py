"""Cases that take turns, so that all meet the same machine, and what came out."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from alasca_pl.bench.clock import Duration
from alasca_pl.core.errors import UserError


class Case(Protocol):
    """Something that can be measured again and again.

    Attributes:
        name: What it is.
        images: Number of images in what ``measure`` times; 0 if it trains on none.
        memory: Bytes, once measured, or None.
        flops: Operations of a forward pass of all networks for one image, or None.
    """

    name: str
    images: int
    memory: int | None
    flops: int | None

    def measure(self) -> Duration:
        """Do the work once and return its time."""
        ...


@dataclass
class Result:
    """Times of a case.

    Attributes:
        name: What was measured.
        unit: What one time is of: ``step``, ``epoch``, ``start`` or ``pass``.
        images: Number of images in it.
        wall: Seconds of each round.
        cpu: Seconds of processors of each round.
        memory: Bytes, or None.
        flops: Operations of a forward pass of all networks for one image, or None.
        paper: The paper's ratios of time and memory to cross-entropy, where it has some.
    """

    name: str
    unit: str
    images: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: int | None = None
    flops: int | None = None
    paper: tuple[float, float] | None = None


def take_turns(cases: Sequence[Case], unit: str, rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Measure all cases in each round: A B ... A B ...; a first round warms up and does not count.

    A case that cannot be measured, because a method refuses the data or diverges on them, is left out.

    Args:
        cases: What to measure.
        unit: What one time is of.
        rounds: Number of rounds that count, at least 1.
        say: Called before each measurement with what is about to be measured, and with what is left out and why.

    Raises:
        UserError: If no case can be measured.
    """
    results = {case: Result(case.name, unit, case.images) for case in cases}
    for number in range(rounds + 1):
        for case, result in list(results.items()):
            say(f"{'warm-up' if number == 0 else f'round {number} of {rounds}'}: {case.name}")
            try:
                duration = case.measure()
            except (UserError, FloatingPointError) as error:
                if len(results) == 1:
                    raise
                say(f"left out: {case.name}: {error}")
                del results[case]
                continue
            if number:
                result.wall.append(duration.wall)
                result.cpu.append(duration.cpu)
    for case, result in results.items():
        result.images, result.memory, result.flops = case.images, case.memory, case.flops
    return list(results.values())


def ratio(times: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of two cases over the rounds.

    Example:
        >>> ratio([3.0, 2.0, 5.0], [2.0, 2.0, 2.0])
        (1.5, 1.0, 2.5)
    """
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def spread(times: Sequence[float]) -> float:
    """Largest deviation from the median as a fraction of it.

    Example:
        >>> spread([2.0, 2.0, 2.5])
        0.25
    """
    middle = statistics.median(times)
    return max(abs(time - middle) for time in times) / middle if middle else 0.0
