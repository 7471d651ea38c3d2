"""Estimates of the transition matrix: worked values, loops, limits."""

import numpy as np
import pytest
import torch

from alasca_pl.methods import transition
from alasca_pl.methods.transition import (
    anchor_matrix,
    consensus_matrix,
    count_triples,
    dual_t_matrix,
    fit_consensus,
)

PROBS = np.array(
    [
        [0.90, 0.06, 0.04],
        [0.80, 0.15, 0.05],
        [0.70, 0.20, 0.10],
        [0.10, 0.85, 0.05],
        [0.20, 0.60, 0.20],
        [0.05, 0.10, 0.85],
        [0.30, 0.30, 0.40],
        [0.25, 0.05, 0.70],
    ]
)
LABEL = np.array([0, 0, 1, 1, 1, 2, 2, 0])


def test_worked_examples(agreement):
    agreement(anchor_matrix, "matrix", anchor_matrix(PROBS, None), PROBS[[0, 3, 5]], atol=1e-12)
    agreement(anchor_matrix, "matrix without outliers", anchor_matrix(PROBS), PROBS[[1, 4, 7]], atol=1e-12)
    expected = [[0.613333, 0.36, 0.026667], [0.083333, 0.883333, 0.033333], [0.316667, 0.116667, 0.566667]]
    agreement(dual_t_matrix, "matrix", dual_t_matrix(PROBS, LABEL, None), expected, atol=1e-6)


def test_equal_the_definition_by_loops(agreement):
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 200)
    label = np.random.default_rng(1).integers(0, 4, 200)
    anchors = []
    for c in range(4):
        limit = sorted(probs[:, c])[int(np.ceil(0.97 * 199))]
        best = max((i for i in range(200) if probs[i, c] < limit), key=lambda i: probs[i, c])
        anchors.append(probs[best])
    agreement(anchor_matrix, "matrix of 200 samples", anchor_matrix(probs), anchors, atol=1e-12)
    said = [max(range(4), key=lambda c: row[c]) for row in probs]
    counted = [
        [sum(s == a and y == b for s, y in zip(said, label)) / said.count(a) for b in range(4)] for a in range(4)
    ]
    product = [[sum(anchors[i][a] * counted[a][j] for a in range(4)) for j in range(4)] for i in range(4)]
    agreement(dual_t_matrix, "matrix of 200 samples", dual_t_matrix(probs, label), product, atol=1e-12)


def test_limits():
    sure = np.eye(3)[[0, 1, 2, 2]]
    assert (anchor_matrix(sure, None) == np.eye(3)).all()
    assert (dual_t_matrix(sure, np.array([0, 1, 2, 2]), None) == np.eye(3)).all()
    # Nobody is predicted to be of the last class, and all samples are equal.
    flat = np.tile([0.5, 0.3, 0.2], (4, 1))
    found = dual_t_matrix(flat, np.array([0, 0, 1, 2]))
    assert found == pytest.approx(np.tile([0.25, 0.425, 0.325], (3, 1)))
    order = np.array([2, 0, 1])
    permuted = anchor_matrix(PROBS[:, order])
    assert permuted == pytest.approx(anchor_matrix(PROBS)[order][:, order])


def test_filtering_does_not_change_the_predictions():
    before = PROBS.copy()
    anchor_matrix(PROBS)
    dual_t_matrix(PROBS, LABEL)
    assert (before == PROBS).all()


def triples_of(matrix: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Frequencies of the labels of three samples of one true class, by loops."""
    classes = range(len(prior))
    return np.array(
        [
            [
                [sum(prior[i] * matrix[i][a] * matrix[i][b] * matrix[i][c] for i in classes) for c in classes]
                for b in classes
            ]
            for a in classes
        ]
    )


def test_the_matrix_that_explains_the_triples_is_found(agreement):
    matrix, prior = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0.6, 0.4])
    triples = triples_of(matrix, prior)
    # Worked values.
    assert triples.sum(axis=(1, 2)) == pytest.approx([0.6, 0.4])
    assert triples.sum(axis=2) == pytest.approx(np.array([[0.42, 0.18], [0.18, 0.22]]))
    assert triples[0, 0] == pytest.approx([0.318, 0.102]) and triples[1, 1] == pytest.approx([0.078, 0.142])
    found = fit_consensus(torch.from_numpy(triples))
    # As close as 400 steps of a fixed rate come.
    agreement(fit_consensus, "matrix of known triples", found.matrix, matrix, atol=0.02)
    agreement(fit_consensus, "frequencies of known triples", found.prior, prior, atol=0.02)
    assert found.noise_rate == pytest.approx(1 - 0.6 * 0.8 - 0.4 * 0.7, abs=0.02)


def test_triples_are_counted(agreement):
    label, first, second = torch.randint(3, (3, 50), generator=torch.Generator().manual_seed(0))
    expected = np.zeros((3, 3, 3))
    for triple in zip(label.tolist(), first.tolist(), second.tolist()):
        expected[triple] += 1 / 50
    agreement(count_triples, "frequencies", count_triples(label, first, second, 3), expected, atol=1e-12)


def clusters(count: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of three separate clusters, true classes and labels."""
    rng = np.random.default_rng(0)
    true = np.arange(count) % 3
    label = np.where(rng.random(count) < rate, (true + 1) % 3, true)
    return np.eye(3)[true] + 0.1 * rng.random((count, 3)), true, label


def test_neighbours_agree_on_the_matrix_of_separate_clusters(monkeypatch):
    features, true, label = clusters(900, 0.3)
    found = consensus_matrix(features, label, 3)
    counted = np.array([[np.mean(label[true == i] == j) for j in range(3)] for i in range(3)])
    assert found.matrix == pytest.approx(counted, abs=0.08)
    assert found.noise_rate == pytest.approx(np.mean(label != true), abs=0.05)
    # Neither scale nor chunks matter, and of many samples some are enough.
    monkeypatch.setattr(transition, "_CHUNK", 70)
    assert consensus_matrix(8 * features, label, 3).matrix == pytest.approx(found.matrix, abs=1e-6)
    monkeypatch.setattr(transition, "_MOST_SAMPLES", 600)
    assert consensus_matrix(features, label, 3).noise_rate == pytest.approx(0.3, abs=0.08)


def test_without_noise_the_consensus_is_the_identity():
    features, _, label = clusters(90, 0.0)
    assert consensus_matrix(features, label, 3).noise_rate < 0.01


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="three samples, got 2"):
        consensus_matrix(np.eye(2), np.array([0, 1]), 2)
