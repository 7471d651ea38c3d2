"""Estimates of the transition matrix: worked values, loops, limits."""

import numpy as np
import pytest

from alasca_pl.methods.transition import anchor_matrix, dual_t_matrix

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
