"""Scores of labels: all point the same way, and unknown ones are refused."""

import numpy as np
import pytest

from alasca_pl.audit.scores import ranking, score_names, suspicion
from alasca_pl.core.errors import UserError
from alasca_pl.core.sample_file import SampleFile


def right_then_wrong() -> SampleFile:
    """Two networks that agree: the first label looks right, the second wrong, the third was never trained on."""
    ones = np.ones((2, 1))
    evidence = {
        "margin": ones * [3.0, -2.0, np.nan],
        "wrong_events": ones.astype(int) * [1, 9, 0],
        "loss": ones * [0.1, 3.0, np.nan],
        "last_loss": ones * [0.0, 0.5, np.nan],
        "confidence": ones * [0.9, 0.1, np.nan],
        "suggested_prob": ones * [0.9, 0.8, np.nan],
        "alasca_confidence": ones * [0.99, 0.02, 0.1],
    }
    return SampleFile(np.array([0, 1, 1]), np.arange(3), np.array([10, 10, 0]), None, evidence)


@pytest.mark.parametrize("name", score_names(right_then_wrong()))
def test_every_score_is_larger_for_the_label_that_looks_wrong(name: str):
    score = suspicion(right_then_wrong(), name)
    assert score[1] > score[0]
    assert np.isnan(score[2])
    assert ranking(score).tolist() == [1, 0, 2]


def test_wrong_events_are_a_fraction_of_the_visits():
    assert suspicion(right_then_wrong(), "wrong_events")[:2].tolist() == [0.1, 0.9]


def test_an_unknown_score_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"'entropy'; choose one of margin, .*alasca_confidence"):
        suspicion(right_then_wrong(), "entropy")
