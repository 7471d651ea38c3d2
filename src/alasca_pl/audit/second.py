"""Second scores of labels, by tools and methods other than the evidence of a run's own training."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.core.extras import is_installed
from alasca_pl.core.files import write_archive
from alasca_pl.core.npz import open_npz

Array = npt.NDArray[np.float64]

CLEANLAB, FINE = "cleanlab", "fine"
TOOLS = (CLEANLAB, FINE)
# Names of cleanlab's label qualities, and what they are called there.
_QUALITIES = {
    "self_confidence": "self_confidence",
    "margin": "normalized_margin",
    "entropy": "confidence_weighted_entropy",
}
_NAME = re.compile(rf"{CLEANLAB}_({'|'.join(_QUALITIES)})(?:_([0-9]+)folds)?")


@dataclass(frozen=True)
class SecondScores:
    """Scores that were computed after a run.

    Attributes:
        scores: By split, then by name: larger is more suspicious, (n,).
        counts: How many labels cleanlab takes for wrong, by split, then by the number of folds of the probabilities, 0 for
            the final network.
    """

    scores: dict[str, dict[str, Array]] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def names(self, split: str = "train") -> list[str]:
        """Names of the scores of a split."""
        return list(self.scores.get(split, {}))

    def only(self, names: Sequence[str]) -> "SecondScores":
        """Some of the scores, with the counts of the same origin."""
        chosen = {
            split: {name: scores[name] for name in names if name in scores} for split, scores in self.scores.items()
        }
        counts = {
            split: {folds: count for folds, count in counts.items() if names_from(CLEANLAB, folds)[0] in names}
            for split, counts in self.counts.items()
        }
        return SecondScores(chosen, counts)

    def joined(self, other: "SecondScores") -> "SecondScores":
        """Both; where both have a score, that of ``other``."""
        splits = self.scores.keys() | other.scores.keys()
        return SecondScores(
            {split: {**self.scores.get(split, {}), **other.scores.get(split, {})} for split in sorted(splits)},
            {split: {**self.counts.get(split, {}), **other.counts.get(split, {})} for split in sorted(splits)},
        )

    def save(self, path: Path, digest: str) -> None:
        """Write everything, atomically; ``digest`` says what it belongs to."""
        arrays: dict[str, Any] = {"digest": np.str_(digest)}
        for split, scores in self.scores.items():
            arrays |= {f"score/{split}/{name}": values.astype(np.float32) for name, values in scores.items()}
        for split, counts in self.counts.items():
            arrays |= {f"count/{split}/{folds}": np.int64(value) for folds, value in counts.items()}
        write_archive(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path, digest: str) -> "SecondScores":
        """Read what ``save`` wrote; nothing if there is no such file, or it belongs to something else.

        Raises:
            UserError: If the file is damaged.
        """
        result = cls()
        if not path.is_file():
            return result
        try:
            with open_npz(path) as file:
                if str(file["digest"]) != digest:
                    return result
                for entry in file.names:
                    kind, _, rest = entry.partition("/")
                    split, _, name = rest.partition("/")
                    if kind == "score":
                        result.scores.setdefault(split, {})[name] = file[entry].astype(np.float64)
                    elif kind == "count":
                        result.counts.setdefault(split, {})[int(name)] = int(file[entry])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it, it is computed again") from error
        return result


def origin(folds: int) -> str:
    """Suffix of the scores from some probabilities: of the final network, or out of fold.

    Example:
        >>> origin(0), origin(3)
        ('', '_3folds')
    """
    return f"_{folds}folds" if folds else ""


def names_from(tool: str, folds: int = 0) -> list[str]:
    """Names of the scores of a tool.

    Example:
        >>> names_from("cleanlab", folds=3)[0], names_from("fine", folds=3)
        ('cleanlab_self_confidence_3folds', ['fine'])
    """
    return [f"{CLEANLAB}_{quality}{origin(folds)}" for quality in _QUALITIES] if tool == CLEANLAB else [tool]


def second_meaning(name: str) -> str:
    """What a second score is; empty for another one."""
    if name == FINE:
        return "1 - posterior of FINE that the label is correct, from the final network's features"
    found = _NAME.fullmatch(name)
    if not found:
        return ""
    where = "of the final network, which was trained on these labels"
    if found[2]:
        where = f"of {found[2]} networks, each for the labels of the fold that it was not trained on"
    return f"1 - cleanlab's label quality {_QUALITIES[found[1]]} from probabilities {where}"


def check_tools(tools: Sequence[str], folds: int = 0, choices: Iterable[str] = ()) -> None:
    """Raise ``UserError`` unless all tools are known and installed, and there may be so many folds."""
    unknown = [tool for tool in tools if tool not in TOOLS]
    if unknown:
        known = (*TOOLS, *choices)
        raise UserError(
            f"unknown second score {unknown[0]!r}{did_you_mean(unknown[0], known)}; choose from {', '.join(known)}"
        )
    if folds == 1 or not 0 <= folds <= 100:
        raise UserError(f"folds={folds} must be 0, for the final network alone, or a whole number from 2 to 100")
    if folds and CLEANLAB not in tools:
        raise UserError(f"folds={folds} is for with={CLEANLAB}; give both")
    if CLEANLAB in tools and not is_installed(CLEANLAB):
        raise _no_cleanlab("")


def _no_cleanlab(reason: str) -> UserError:
    return UserError(f"with={CLEANLAB} needs cleanlab, which is not installed{reason}: pip install 'alasca-pl[audit]'")


def cleanlab_scores(
    label: npt.NDArray[np.int64], probs: npt.NDArray[Any], folds: int = 0
) -> tuple[dict[str, Array], int]:
    """Score labels by cleanlab.

    ``self_confidence`` without adjustment is what its Datalab ranks by.

    Args:
        label: Given labels, int64 (n,).
        probs: Predicted probabilities, (n, K).
        folds: Number of folds that they are from, 0 for probabilities of the final network; only for the names.

    Returns:
        1 - label quality by name, (n,) each, and the number of labels that ``find_label_issues`` takes for wrong.

    Raises:
        UserError: If cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise _no_cleanlab(f" ({error})") from error

    probs = np.asarray(probs, dtype=np.float64)
    probs = probs / probs.sum(axis=1, keepdims=True)
    scores = {
        name: 1.0 - get_label_quality_scores(label, probs, method=method)
        for name, method in zip(names_from(CLEANLAB, folds), _QUALITIES.values())
    }
    return scores, int(find_label_issues(label, probs, n_jobs=1).sum())


def agreement(own: Array, scores: Mapping[str, Array]) -> dict[str, float]:
    """Spearman's rank correlation of a score with others, over the labels that both have; NaN where one is constant.

    Example:
        >>> agreement(np.array([1.0, 2.0, 3.0, np.nan]), {"other": np.array([5.0, 6.0, 9.0, 0.0])})
        {'other': 1.0}
    """
    # Imported late: only audits with second scores need it.
    from scipy.stats import rankdata

    found = {}
    for name, values in scores.items():
        known = ~np.isnan(own) & ~np.isnan(values)
        ranks = [rankdata(array[known]) for array in (own, values)]
        constant = any(len(set(array.tolist())) < 2 for array in ranks)
        found[name] = float("nan") if constant else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return found
