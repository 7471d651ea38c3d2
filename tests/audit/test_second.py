"""Second scores: what they are, by formulas written out here, and how they are kept."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from alasca_pl.audit.scores import meaning_of
from alasca_pl.audit.second import SecondScores, agreement, cleanlab_scores, names_from
from alasca_pl.core.errors import UserError


def random_probs(count: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), true] += 2
    label = np.where(rng.random(count) < 0.3, (true + 1) % classes, true)
    return label, (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


def test_cleanlabs_scores_are_those_of_its_documentation():
    label, probs = random_probs(200)
    scores, count = cleanlab_scores(label, probs, folds=3)
    assert list(scores) == names_from("cleanlab", 3)
    for row in range(200):
        own = float(probs[row, label[row]])
        other = max(float(value) for place, value in enumerate(probs[row]) if place != label[row])
        assert scores["cleanlab_self_confidence_3folds"][row] == pytest.approx(1 - own, abs=1e-6)
        assert scores["cleanlab_margin_3folds"][row] == pytest.approx(1 - (own - other + 1) / 2, abs=1e-6)
    # The entropy, divided by the probability of the label, in the same order.
    entropy = -(probs * np.log(probs)).sum(1) / probs[np.arange(200), label]
    assert spearmanr(entropy, scores["cleanlab_entropy_3folds"]).statistic == pytest.approx(1)
    assert 20 < count < 120


def test_every_name_has_a_meaning():
    for name in (*names_from("cleanlab"), *names_from("cleanlab", 5), "fine"):
        assert meaning_of(name).startswith("1 - ")
    assert "of 5 networks" in meaning_of("cleanlab_entropy_5folds")
    assert meaning_of("cleanlab_other") == "" == meaning_of("else")


def test_without_cleanlab_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(UserError, match=r"pip install 'alasca-pl\[audit\]'"):
        cleanlab_scores(*random_probs(5))


def test_they_are_kept_for_the_evidence_that_they_belong_to(tmp_path: Path):
    path = tmp_path / "second.npz"
    values = np.array([0.25, np.nan])
    first = SecondScores({"train": {"fine": values}, "val": {"fine": values[:1]}}, {"train": {3: 7}})
    first.save(path, "a")
    again = SecondScores.load(path, "a")
    np.testing.assert_array_equal(again.scores["train"]["fine"], values)
    assert again.counts == first.counts and again.names("val") == ["fine"]
    assert SecondScores.load(path, "b").scores == {} == SecondScores.load(tmp_path / "none", "a").scores
    more = again.joined(SecondScores({"train": {"cleanlab_margin": values}}, {"train": {0: 2}}))
    assert more.names() == ["fine", "cleanlab_margin"] and more.counts["train"] == {3: 7, 0: 2}
    assert more.only(["fine"]).names() == ["fine"] and not any(more.only(["fine"]).counts.values())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="is damaged"):
        SecondScores.load(path, "a")


def test_agreement_is_spearmans_also_with_ties():
    rng = np.random.default_rng(0)
    own, other = rng.integers(0, 5, 50).astype(float), rng.integers(0, 9, 50).astype(float)
    found = agreement(own, {"other": other, "constant": np.ones(50)})
    assert found["other"] == pytest.approx(spearmanr(own, other).statistic)
    assert np.isnan(found["constant"])
