"""Numbers of wrong labels: against counts by hand, and against the truth."""

import numpy as np
import pytest

from alasca_pl.audit.count import (
    ESTIMATORS,
    Count,
    confident,
    contradicted,
    costly,
    disagreeing,
    estimate,
    total,
    views_of,
    wrong_probability,
)
from alasca_pl.core.sample_file import SampleFile
from audit.made import noisy, sample_file


def small_file() -> SampleFile:
    evidence = {
        "margin": [1.0, 1.0, -1.0, 1.0, -2.0, 0.0],
        "confidence": [0.9, 0.7, 0.2, 0.8, 0.1, 0.4],
        "loss": [0.1, 0.3, 1.6, 0.2, 2.3, 0.9],
        "suggested": [0, 0, 1, 1, 0, 0],
        "suggested_prob": [0.9, 0.7, 0.8, 0.8, 0.9, 0.59],
        "wrong_events": [0, 0, 5, 0, 9, 5],
    }
    label = np.array([0, 0, 0, 1, 1, 1])
    arrays = {name: np.array([values]) for name, values in evidence.items()}
    return SampleFile(label, np.arange(6), np.full(6, 9), None, arrays)


def test_labels_that_differ_from_the_averaged_prediction():
    views = views_of(small_file(), 2)
    assert disagreeing(views, np.ones(6)).tolist() == [0, 0, 1, 0, 1, 1]


def test_confident_learning_by_hand():
    # Usual confidences: (.9 + .7 + .2) / 3 = .6 and (.8 + .1 + .4) / 3 = .433. Against the given label: row 2, where class 1 has
    # .8 >= .433; row 4, where class 0 has .9 >= .6; row 5 not, where class 0 has .59 < .6.
    views = views_of(small_file(), 2)
    found = confident(views, np.ones(6))
    # Row 5 is neither: of class 1 one label is counted wrong and one right, so that it is wrong with 1 / 2.
    assert found.tolist() == [0, 0, 1, 0, 1, 0.5]


def test_labels_are_clearly_contradicted_from_a_difference_of_probabilities():
    # Differences of the suggested and the given class: 0, 0, .6, 0, .8, .2 and that is not more than .2.
    assert contradicted(views_of(small_file(), 2), np.ones(6)).tolist() == [0, 0, 1, 0, 1, 0]


def test_the_median_of_the_estimators_is_counted():
    views, one = views_of(small_file(), 2), np.ones(6)
    members = [estimator(views, one).tolist() for estimator in ESTIMATORS.values()]
    expected = 0.0
    for each in zip(*members):
        ordered = sorted(each)
        expected += (ordered[1] + ordered[2]) / 2
    assert estimate(small_file(), 2).estimate == pytest.approx(expected)


def test_two_groups_of_losses_are_told_apart(generator):
    rng = np.random.default_rng(0)
    file = sample_file(np.zeros(400, dtype=np.int64), np.zeros(400, dtype=np.int64))
    wrong = np.arange(400) < 100
    file.evidence["loss"] = np.where(wrong, rng.normal(5, 0.3, 400), rng.normal(1, 0.3, 400))[None]
    file.evidence["suggested"] = np.where(rng.random(400) < 0.1, 1 - wrong, wrong).astype(np.int64)[None]
    found = costly(views_of(file, 3), np.ones(400))
    np.testing.assert_allclose(found, wrong, atol=1e-3)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_the_interval_covers_the_number_where_the_networks_know_the_classes(rate):
    true = np.random.default_rng(3).integers(0, 3, 1500)
    label = noisy(true, rate)
    count = estimate(sample_file(label, true), 3)
    assert count.low <= (label != true).sum() <= count.high
    assert count.low <= count.estimate <= count.high
    assert list(count.by) == list(ESTIMATORS)


def test_probabilities_fall_with_the_rank_and_sum_to_the_estimate():
    true = np.random.default_rng(3).integers(0, 3, 800)
    file = sample_file(noisy(true, 0.3), true)
    score = -file.evidence["margin"][0]
    probability = wrong_probability(file, 3, score)
    assert (np.diff(probability[np.argsort(-score, kind="stable")]) <= 1e-12).all()
    assert probability.sum() == pytest.approx(estimate(file, 3).estimate)
    assert probability.min() >= 0 and probability.max() <= 1


def test_planted_errors_are_not_counted_and_serve_as_reference():
    true = np.random.default_rng(3).integers(0, 3, 2000)
    label = noisy(true, 0.2)
    planted = np.arange(2000) < 100
    label[planted] = (true[planted] + 1) % 3
    file = sample_file(label, true)
    count = estimate(file, 3, planted, -file.evidence["margin"][0])
    wrong = (label != true)[~planted].sum()
    assert count.size == 1900 and count.low <= wrong <= count.high
    assert count.by["reference of the planted errors"] == pytest.approx(wrong, rel=0.2)


def test_samples_without_a_visit_do_not_count():
    file = small_file()
    file.visits[:2] = 0
    for name in ("confidence", "loss"):
        file.evidence[name][0, :2] = np.nan
    assert estimate(file, 2).size == 4


def test_estimators_that_differ_much_are_said_to():
    sure = Count(100.0, 60.0, 150.0, 1000, {"a": 80.0, "b": 120.0})
    assert sure.sentence() == "about 100 of 1,000 labels are estimated to be wrong (60 to 150)"
    unsure = Count(100.0, 60.0, 500.0, 1000, {"a": 80.0, "b": 320.0})
    assert "differ by a factor of 4, so take it for a guess" in unsure.sentence()


def test_splits_are_added():
    one, other = estimate(small_file(), 2), estimate(sample_file(np.zeros(50, dtype=np.int64), np.arange(50) % 2), 3)
    both = total([one, other])
    assert both.size == 56 and both.low == one.low + other.low and both.high == one.high + other.high
    assert both.sentence().startswith(f"about {round(both.estimate)} of 56 labels are estimated to be wrong (")
