"""All labels of a run, the most suspicious first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression

from alasca_pl.audit.count import wrong_probability
from alasca_pl.audit.scores import DEFAULT, score_names, suspicion
from alasca_pl.core.sample_file import SampleFile

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

HEADS = "heads"
"""Name of the evidence of the final networks: the class that each head predicts, int64 (H, N)."""


@dataclass(frozen=True)
class Suspects:
    """One row per label that has a score, sorted from the most to the least suspicious.

    Attributes:
        split: Name of the split, (n,).
        row: Position in the split, int64 (n,).
        given: Given label, int64 (n,).
        suggested: Class that the averaged prediction suggests, int64 (n,); it may be the given one.
        suggested_prob: Averaged probability of the suggested class, (n,).
        confidence: Averaged probability of the given label, (n,).
        score: Larger is more suspicious, (n,). Scores of different splits are of different origin.
        probability: Estimated probability that the label is wrong, (n,). It falls with the rank.
        events: How often another class was predicted, int64 (n,).
        predictions: Of how many predictions, int64 (n,).
        agreement: Fraction of the final networks' heads, main and auxiliary, that predict the suggested class, (n,);
            NaN if there is only one head.
    """

    split: npt.NDArray[np.str_]
    row: Labels
    given: Labels
    suggested: Labels
    suggested_prob: Array
    confidence: Array
    score: Array
    probability: Array
    events: Labels
    predictions: Labels
    agreement: Array

    def __len__(self) -> int:
        return len(self.row)

    def take(self, places: npt.NDArray[Any]) -> "Suspects":
        """Return some rows."""
        return Suspects(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

    def reason(self, place: int, class_names: Sequence[str]) -> str:
        """Say in words why a label is suspicious, or that it is not."""
        given, suggested = (class_names[int(each[place])] for each in (self.given, self.suggested))
        events, predictions = int(self.events[place]), int(self.predictions[place])
        parts = []
        if predictions > 1:
            parts.append(f"another class was predicted {events} of {predictions} times while training")
        where = "averaged probability" if predictions > 1 else "probability by the final network"
        if given == suggested:
            parts.append(f"{where} of the given label {self.confidence[place]:.2f}, the largest")
        else:
            parts.append(
                f"{where} of {suggested} {self.suggested_prob[place]:.2f}, of {given} {self.confidence[place]:.2f}"
            )
        if not np.isnan(self.agreement[place]):
            parts.append(f"{self.agreement[place]:.0%} of the final heads predict {suggested}")
        return "; ".join(parts)


def find_suspects(files: Mapping[str, SampleFile], num_classes: int, score: str = DEFAULT) -> Suspects:
    """Rank the labels of all splits.

    Within a split the score decides. Between splits neither scores nor probabilities compare: those of the training split are
    from all its epochs, those of others from the final networks, which are surer. So splits are merged by rank, each in
    proportion to the number of its labels that are estimated to be wrong; probabilities are then smoothed along the order.

    Args:
        files: What is known of each split.
        num_classes: K.
        score: Name of the score; a split that does not have it uses the default.

    Raises:
        UserError: If no split has this score.

    Example:
        >>> evidence = {"margin": [4.0, 3.0, 2.0, -3.0], "confidence": [0.9, 0.9, 0.8, 0.1]}
        >>> evidence |= {"suggested": [0, 0, 1, 0], "suggested_prob": [0.9, 0.9, 0.8, 0.9]}
        >>> evidence |= {"loss": [0.1, 0.1, 0.2, 2.3], "wrong_events": [0, 0, 0, 9]}
        >>> label, visits = np.array([0, 0, 1, 1]), np.full(4, 10)
        >>> file = SampleFile(label, np.arange(4), visits, None, {k: np.array([v]) for k, v in evidence.items()})
        >>> find_suspects({"train": file}, num_classes=2).row.tolist()
        [3, 2, 1, 0]
    """
    parts = [_of_split(name, file, num_classes, score) for name, file in files.items()]
    joined = Suspects(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Suspects)}
    )
    place = np.concatenate([_place(part.score, part.probability.sum()) for part in parts])
    ordered = joined.take(np.argsort(place, kind="stable"))
    probability = isotonic_regression(ordered.probability, increasing=False)
    return replace(ordered, probability=np.clip(probability, 0.0, 1.0))


def _of_split(name: str, file: SampleFile, num_classes: int, score: str) -> Suspects:
    seen = file.visits > 0
    values = suspicion(file, score if score in score_names(file) or name == "train" else DEFAULT)[seen]
    evidence = {key: np.asarray(array)[:, seen] for key, array in file.evidence.items()}
    networks = len(evidence["margin"])
    prob = evidence["suggested_prob"].astype(np.float64)
    best = np.argmax(prob, axis=0), np.arange(prob.shape[1])
    suggested = evidence["suggested"][best].astype(np.int64)
    heads = evidence.get(HEADS)
    agreement = np.full(len(suggested), np.nan)
    if heads is not None and len(heads) > 1:
        agreement = (heads == suggested).mean(axis=0)
    return Suspects(
        split=np.full(len(suggested), name),
        row=np.flatnonzero(seen),
        given=file.label[seen],
        suggested=suggested,
        suggested_prob=prob[best],
        confidence=evidence["confidence"].astype(np.float64).mean(axis=0),
        score=values,
        probability=wrong_probability(file, num_classes, values),
        events=evidence["wrong_events"].sum(axis=0).astype(np.int64),
        predictions=file.visits[seen] * networks,
        agreement=agreement,
    )


def _place(score: Array, wrong: float) -> Array:
    """Place of each value, over the number of wrong labels: 0 for the largest, 1 where all wrong ones are expected above.

    Example:
        >>> _place(np.array([1.0, 3.0, 2.0]), wrong=2.0).tolist()
        [1.25, 0.25, 0.75]
    """
    place = np.empty(len(score))
    place[np.argsort(-score, kind="stable")] = (np.arange(len(score)) + 0.5) / max(wrong, 1e-9)
    return place
