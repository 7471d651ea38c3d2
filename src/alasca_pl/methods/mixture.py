"""Scaling of losses and mixtures of two Gaussians, shared by all methods that need them."""

import warnings
from typing import Literal

import numpy as np


def scale_to_unit(values: np.ndarray) -> np.ndarray:
    """Shift and scale numbers to the range from 0 to 1.

    Args:
        values: Finite, float (n,), n > 0.

    Returns:
        float64 (n,); all 0 if the numbers are equal.
    """
    values = values.astype(np.float64)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def two_component_posterior(
    values: np.ndarray,
    component: Literal["low", "high"],
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    reg_covar: float = 1e-6,
    seed: int = 0,
) -> np.ndarray:
    """Fit two Gaussians to numbers and compute each number's posterior of the one with the lower or higher mean.

    Numbers do not form two groups if all of them are equal or if both fitted means coincide. The result is then
    1 everywhere, whichever ``component`` is requested. A caller that needs 0 in this case requests the other component
    and uses the complement.

    The two variances differ, so the result need not be monotone: far from both means the wider Gaussian dominates.

    Args:
        values: Finite, float (n,).
        component: The requested Gaussian, by its mean.
        max_iter: Maximum number of iterations of expectation maximisation. Reaching it is not an error.
        tol: The fit stops when the mean log-likelihood increases by less than this.
        reg_covar: Added to both variances; it is in units of ``values`` squared.
        seed: Of the initialisation by k-means.

    Returns:
        float64 (n,) in [0, 1].

    Raises:
        ValueError: If ``component`` is unknown or values are not finite or not one-dimensional.

    Example:
        >>> import numpy as np
        >>> two_component_posterior(np.array([0.1, 0.2, 0.1, 3.0, 3.1]), "low").round(3).tolist()
        [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    if component not in ("low", "high"):
        raise ValueError(f"unknown component {component!r}; choose one of low, high")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"a mixture is fitted to a list of numbers, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ValueError(f"{wrong} of {len(values)} values are not finite; has the run diverged?")
    if len(values) < 2 or values.min() == values.max():
        return np.ones(len(values))

    # Imported here, because it takes a second, which runs without a mixture save.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        2, covariance_type="full", max_iter=max_iter, tol=tol, reg_covar=reg_covar, random_state=seed % 2**32
    )
    column = values[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = model.fit(column).predict_proba(column)
    low, high = sorted(range(2), key=lambda k: float(model.means_[k, 0]))
    if model.means_[low, 0] == model.means_[high, 0]:
        return np.ones(len(values))
    return posterior[:, low if component == "low" else high]
