"""Estimates of the transition matrix from what a network that was trained on noisy labels predicts."""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def anchor_matrix(probs: np.ndarray, percentile: float | None = 97.0) -> Matrix:
    """Take the predictions for the sample of each class that is most surely of it.

    Args:
        probs: Class probabilities of the training samples, float (N, K).
        percentile: For each class only samples compete whose probability lies below this percentile of all samples, against
            outliers; None lets all compete.

    Returns:
        P(given label j | true class i), (K, K); rows sum to 1.

    References:
        Patrini et al.: Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach. CVPR 2017.
        https://arxiv.org/abs/1609.03683
        Code: giorgiop/loss-correction@15a79de

    Example:
        >>> import numpy as np
        >>> anchor_matrix(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), percentile=None).tolist()
        [[0.8, 0.2], [0.3, 0.7]]
    """
    rows = np.empty((probs.shape[1],) * 2)
    for number, column in enumerate(np.asarray(probs, dtype=np.float64).T):
        competing = column
        if percentile is not None:
            below = column < np.percentile(column, percentile, method="higher")
            # If all samples are equal none lies below.
            competing = np.where(below, column, -1.0) if below.any() else column
        rows[number] = probs[competing.argmax()]
    return rows / rows.sum(axis=1, keepdims=True)


def dual_t_matrix(probs: np.ndarray, label: np.ndarray, percentile: float | None = 97.0) -> Matrix:
    """Multiply the transition to the network's own predictions, from anchors, by that from these to given labels, counted.

    Args:
        probs: See ``anchor_matrix``.
        label: Given labels, int64 (N,).
        percentile: See ``anchor_matrix``.

    Returns:
        P(given label j | true class i), (K, K); rows sum to 1. A class that is never predicted is taken to keep its labels.

    References:
        Yao et al.: Dual T: Reducing Estimation Error for Transition Matrix in Label-noise Learning. NeurIPS 2020.
        https://arxiv.org/abs/2006.07805
        Code: a5507203/dual-t-reducing-estimation-error-for-transition-matrix-in-label-noise-learning@af9a491

    Example:
        >>> import numpy as np
        >>> probs = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
        >>> dual_t_matrix(probs, np.array([0, 1, 1]), percentile=None).round(2).tolist()
        [[0.4, 0.6], [0.15, 0.85]]
    """
    classes = probs.shape[1]
    counts = np.zeros((classes, classes))
    np.add.at(counts, (probs.argmax(axis=1), label), 1.0)
    total = counts.sum(axis=1, keepdims=True)
    to_label = np.where(total > 0, counts / np.maximum(total, 1.0), np.eye(classes))
    return anchor_matrix(probs, percentile) @ to_label
