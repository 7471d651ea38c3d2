"""One number per label: the larger, the more suspicious."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.audit.second import check_tools, second_meaning
from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.core.sample_file import SampleFile

Scores = npt.NDArray[np.float64]

DEFAULT = "margin"
_CONFIDENCE = re.compile(r"(.+)_confidence")


def _mean(array: npt.NDArray[Any]) -> Scores:
    """Mean over the networks."""
    return np.asarray(array, dtype=np.float64).mean(axis=0)


# Name, where it comes from, and how it is computed. All are oriented: larger is more suspicious.
_KNOWN: dict[str, tuple[str, Callable[[SampleFile], Scores]]] = {
    "margin": (
        "minus the mean over epochs of the given label's logit less the largest other one",
        lambda file: -_mean(file.evidence["margin"]),
    ),
    "wrong_events": (
        "fraction of epochs in which another label was predicted",
        lambda file: _mean(file.evidence["wrong_events"]) / np.maximum(file.visits, 1),
    ),
    "loss": ("mean over epochs of the cross-entropy of the given label", lambda file: _mean(file.evidence["loss"])),
    "last_loss": ("cross-entropy of the given label in the last epoch", lambda file: _mean(file.evidence["last_loss"])),
    "confidence": (
        "1 - mean over epochs of the given label's probability",
        lambda file: 1.0 - _mean(file.evidence["confidence"]),
    ),
    "suggested_gap": (
        "averaged probability of the suggested label less that of the given one",
        lambda file: _mean(file.evidence["suggested_prob"]) - _mean(file.evidence["confidence"]),
    ),
}


def meaning_of(name: str) -> str:
    """What a score is; empty for an unknown one."""
    if name in _KNOWN:
        return _KNOWN[name][0]
    second, found = second_meaning(name), _CONFIDENCE.fullmatch(name)
    return second or (f"minus the confidence of {found[1]} in the given label" if found else "")


def score_names(file: SampleFile) -> dict[str, str]:
    """Scores that a file allows, with what they are."""
    names = [*_KNOWN, *(name for name in file.evidence if _CONFIDENCE.fullmatch(name))]
    return {name: meaning_of(name) for name in names}


def check_names(score: str, second: Sequence[str], folds: int) -> None:
    """Check names of scores before there is a run.

    Args:
        score: What the labels are to be ranked by.
        second: Names of further scores.
        folds: Number of folds for scores out of fold.

    Raises:
        UserError: If no run can have them, or what they need is not installed.
    """
    if score not in _KNOWN and not _CONFIDENCE.fullmatch(score):
        raise unknown_score(score, _KNOWN)
    check_tools([name for name in second if name not in _KNOWN and not _CONFIDENCE.fullmatch(name)], folds, _KNOWN)


def unknown_score(name: str, known: Iterable[str]) -> UserError:
    """What is raised for a name that is none of those known."""
    return UserError(f"unknown score {name!r}{did_you_mean(name, known)}; choose one of {', '.join(known)}")


def suspicion(file: SampleFile, name: str = DEFAULT) -> Scores:
    """Score each label.

    Args:
        file: What training showed.
        name: One of ``score_names``.

    Returns:
        (N,), larger where the label is more likely wrong; NaN for samples that were never trained on.

    Raises:
        UserError: If the score is unknown.

    Example:
        >>> evidence = {"margin": np.array([[2.0, -1.0, 0.5]])}
        >>> ones = np.ones(3, dtype=np.int64)
        >>> suspicion(SampleFile(ones, np.arange(3), ones, None, evidence)).tolist()
        [-2.0, 1.0, -0.5]
    """
    names = score_names(file)
    if name not in names:
        raise unknown_score(name, names)
    score = _KNOWN[name][1](file) if name in _KNOWN else -_mean(file.evidence[name])
    return np.where(file.visits > 0, score, np.nan)


def ranking(score: Scores) -> npt.NDArray[np.int64]:
    """Positions from the most to the least suspicious; ties in their order, samples without a score last."""
    return np.argsort(-score, kind="stable")
