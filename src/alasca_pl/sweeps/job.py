"""What a job is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alasca_pl.core.experiment import job_digest

_NAMED = ("method", "alasca", "noise")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        config: Resolved config as plain containers.
        overrides: What the command of this job sets, in Hydra's grammar.
        choices: Options chosen in each group.
        number: Its place in the line that asks for it.
        digest: Of the config, see ``job_digest``.
    """

    config: Mapping[str, Any]
    overrides: Sequence[str] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", job_digest(self.config))

    @property
    def readable(self) -> str:
        """Method, ALASCA, noise with its rate, and seed, in characters that are safe in any path."""
        words = {name: self.choices.get(name) for name in _NAMED}
        noise = self.config.get("noise")
        rate = noise.get("rate") if isinstance(noise, Mapping) else None
        if words["noise"] is not None and rate is not None:
            words["noise"] = f"{words['noise']}{rate}"
        seed = self.config.get("seed")
        parts = [str(word) for word in words.values() if word is not None]
        parts += [] if seed is None else [f"seed{seed}"]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts)).strip("-.")[:80] or "job"

    @property
    def folder_name(self) -> str:
        """Name of its folder in a sweep."""
        return f"{self.readable}-{self.digest}"

    def _count(self, name: str) -> int | None:
        trainer = self.config.get("trainer")
        value = trainer.get(name, 1) if isinstance(trainer, Mapping) else 1
        if isinstance(value, list | tuple):
            return len(value)
        return int(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    @property
    def processes(self) -> int | None:
        """Number of processes per machine; None for as many as there are devices."""
        return self._count("devices")

    @property
    def machines(self) -> int:
        """Number of machines."""
        return self._count("num_nodes") or 1

    @property
    def accelerator(self) -> str:
        """What it trains on: ``cpu``, ``gpu``, ``auto`` or another of Lightning's names."""
        trainer = self.config.get("trainer")
        return str(trainer.get("accelerator", "cpu")) if isinstance(trainer, Mapping) else "cpu"

    @property
    def is_one_process_on_cpu(self) -> bool:
        """Whether it surely is a single process that uses no GPU."""
        return self.accelerator == "cpu" and self.processes == 1 and self.machines == 1

    @property
    def epochs(self) -> int | None:
        """Number of epochs that it will take."""
        trainer = self.config.get("trainer")
        value = trainer.get("max_epochs") if isinstance(trainer, Mapping) else None
        value = self.config.get("epochs") if value is None else value
        return value if isinstance(value, int) else None
