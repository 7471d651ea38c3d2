"""The order of suspicion over several splits, and what is said of each label."""

import numpy as np
import pytest

from alasca_pl.audit.sample import draw_sample
from alasca_pl.audit.suspects import find_suspects
from audit.made import NAMES, noisy, sample_file


def files():
    true = np.random.default_rng(0).integers(0, 3, 260)
    label = noisy(true, 0.3)
    train, val = sample_file(label[:200], true[:200]), sample_file(label[200:], true[200:], seed=1, skill=9.0)
    val.visits[:] = 1
    return {"train": train, "val": val}


def test_within_a_split_the_score_decides_and_probability_falls_with_the_rank():
    made = files()
    suspects = find_suspects(made, 3)
    assert len(suspects) == 260 and (np.diff(suspects.probability) <= 0).all()
    for name, file in made.items():
        own = suspects.split == name
        assert suspects.row[own].tolist() == np.argsort(file.evidence["margin"][0], kind="stable").tolist()
        assert suspects.score[own].tolist() == pytest.approx(np.sort(-file.evidence["margin"][0])[::-1])
    # The scores of the two splits differ in scale; sorted by them, one split would come first.
    assert len(set(suspects.split[:40])) == 2


def test_splits_share_each_beginning_of_the_order_as_they_share_the_wrong_labels():
    # The networks are much surer of validation images, as final networks are: by probability these would all come first.
    true = np.random.default_rng(0).integers(0, 3, 1000)
    label = noisy(true, 0.4)
    train, val = (
        sample_file(label[:800], true[:800], skill=1.5),
        sample_file(label[800:], true[800:], seed=1, skill=30.0),
    )
    val.visits[:] = 1
    suspects = find_suspects({"train": train, "val": val}, 3)
    wrong = {name: suspects.probability[suspects.split == name].sum() for name in ("train", "val")}
    share = wrong["val"] / sum(wrong.values())
    for first in (20, 100, 300):
        assert (suspects.split[:first] == "val").mean() == pytest.approx(share, abs=0.06)
    # A split in which nothing seems wrong comes last.
    clean = sample_file(true[800:], true[800:], seed=1, skill=60.0)
    assert "val" not in find_suspects({"train": train, "val": clean}, 3).split[:200]


def test_samples_without_a_visit_are_left_out():
    made = files()["train"]
    made.visits[7] = 0
    suspects = find_suspects({"train": made}, 3)
    assert len(suspects) == 199 and 7 not in suspects.row


def test_the_reason_is_in_words():
    file = sample_file(np.array([1, 0]), np.array([0, 0]), skill=50.0)
    suspects = find_suspects({"train": file}, 3)
    assert suspects.row.tolist() == [0, 1]
    assert suspects.reason(0, NAMES) == (
        "another class was predicted 9 of 10 times while training; averaged probability of cat 1.00, of dog 0.00; "
        "50% of the final heads predict cat"
    )
    assert "averaged probability of the given label 1.00, the largest" in suspects.reason(1, NAMES)


def test_a_sample_is_random_within_strata_and_in_a_random_order():
    probability = np.sort(np.random.default_rng(0).random(2000))[::-1]
    sample = draw_sample(probability, 200)
    assert len(sample.place) == len(set(sample.place.tolist())) == 200
    assert sample.size.sum() == 2000
    edges = np.array([0.05, 0.2, 0.5, 0.8])
    assert (sample.stratum == (probability[sample.place][:, None] >= edges).sum(1)).all()
    assert np.bincount(sample.stratum, minlength=5).min() >= 12
    assert draw_sample(probability, 200, seed=1).place.tolist() != sample.place.tolist()
    # Every label of a stratum is as likely as any other.
    times = np.bincount(
        np.concatenate([draw_sample(probability[:60], 24, seed).place for seed in range(400)]), minlength=60
    )
    assert abs(times[:30].mean() - times[30:].mean()) < 12


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_sample_is_no_larger_than_the_labels(count):
    assert len(draw_sample(np.full(20, 0.5), count).place) == min(max(count, 12), 20)
