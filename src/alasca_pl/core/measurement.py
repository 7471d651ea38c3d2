"""What was measured on a checkpoint, as a JSON file in the run's folder."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from alasca_pl.core.checksum import sealed, unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import parse_json, write_json

FORMAT = "alasca_pl measurement 1"
What = Literal["jacobian", "norms"]
KINDS: tuple[What, ...] = ("jacobian", "norms")


@dataclass(frozen=True)
class Measurement:
    """Norms of representations, or of their Jacobians, at some samples of a split.

    Attributes:
        what: ``jacobian``, the Frobenius norm of the Jacobian with regard to the normalised image, or ``norms``, the Euclidean
            norm of the representation.
        settings: How it was measured: ``checkpoint``, ``epoch`` from 0, ``split``, ``of`` (``features`` or ``logits``),
            ``estimator`` (``exact`` or ``hutchinson``), ``probes``, ``samples``.
        index: Positions of the samples in their split.
        label: Given labels.
        clean: Clean labels, or None if they are unknown.
        values: One list per network with a norm for each sample.
        class_names: One per class.
    """

    what: str
    settings: Mapping[str, Any]
    index: list[int]
    label: list[int]
    clean: list[int] | None
    values: list[list[float]]
    class_names: list[str]

    @property
    def sample_values(self) -> list[float]:
        """Mean over the networks, one per sample."""
        return [sum(each) / len(each) for each in zip(*self.values)]

    def split_by_noise(self) -> dict[str, list[float]]:
        """Values by ``clean`` and ``noisy`` samples; all are ``all`` if that is unknown or none is noisy."""
        values = self.sample_values
        if self.clean is None or self.clean == self.label:
            return {"all": values}
        noisy = [given != true for given, true in zip(self.label, self.clean)]
        return {
            "clean": [value for value, is_noisy in zip(values, noisy) if not is_noisy],
            "noisy": [value for value, is_noisy in zip(values, noisy) if is_noisy],
        }

    def class_means(self) -> list[float | None]:
        """Mean of each class, by clean labels if they are known; None for a class without samples."""
        labels = self.label if self.clean is None else self.clean
        groups: list[list[float]] = [[] for _ in self.class_names]
        for label, value in zip(labels, self.sample_values):
            groups[label].append(value)
        return [sum(each) / len(each) if each else None for each in groups]

    def write(self, path: Path) -> None:
        """Write it as JSON with its checksum, atomically."""
        write_json(path, sealed({"format": FORMAT, **asdict(self)}))

    @classmethod
    def read(cls, path: Path) -> "Measurement":
        """Read what ``write`` wrote.

        Raises:
            UserError: If the file cannot be read or is damaged.
        """
        try:
            content = parse_json(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}, it is missing or damaged: {error}") from error
        return cls.from_plain(content, str(path))

    @classmethod
    def from_plain(cls, content: Any, where: str) -> "Measurement":
        """Make a measurement of what its JSON holds.

        Raises:
            UserError: If it is damaged; ``where`` is what the message calls it.
        """
        try:
            content = dict(unsealed(content))
            if content.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            made = cls(**content)
            count = len(made.index)
            lists: list[list[Any]] = [made.label, *made.values, *([] if made.clean is None else [made.clean])]
            if made.what not in KINDS or not made.values or any(len(each) != count for each in lists):
                raise ValueError("its lists have different lengths, or it is of an unknown kind")
            if not all(math.isfinite(value) for row in made.values for value in row):
                raise ValueError("it holds values that are not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where} is no measurement of alasca-measure: {error}") from error
        return made
