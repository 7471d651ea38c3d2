"""The mixture of two Gaussians: densities by hand, separation, degenerate input."""

import warnings

import numpy as np
import pytest

from alasca_pl.methods.mixture import scale_to_unit, two_component_posterior


def two_groups(seed: int, sizes: tuple[int, int] = (300, 200)) -> tuple[np.ndarray, np.ndarray]:
    """Numbers around 1 and around 5, and which are of the higher group, shuffled."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(1.0, 0.3, sizes[0]), rng.normal(5.0, 0.6, sizes[1])])
    order = rng.permutation(len(values))
    return values[order], (np.arange(len(values)) >= sizes[0])[order]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_separated_groups_are_found_whichever_is_asked_for(seed: int):
    values, high = two_groups(seed)
    assert ((two_component_posterior(values, "high", seed=seed) > 0.5) == high).all()
    assert ((two_component_posterior(values, "low", seed=seed) > 0.5) == ~high).all()


def test_the_posterior_is_bayes_rule_with_the_moments_of_the_groups():
    """With groups far apart the fit is the moments of each group, and the posterior follows from two densities."""
    values, high = two_groups(3)
    posterior = two_component_posterior(values, "high", reg_covar=1e-12)
    density = [
        group.mean() * np.exp(-((values - values[group].mean()) ** 2) / (2 * values[group].var())) / values[group].std()
        for group in (~high, high)
    ]
    np.testing.assert_allclose(posterior, density[1] / (density[0] + density[1]), atol=2e-3)


def steps_by_hand(values: np.ndarray, first: np.ndarray, max_iter: int, tol: float, reg_covar: float) -> np.ndarray:
    """Expectation maximisation written out for one dimension; ``first`` says which values start in the higher group."""
    belongs, before = np.stack([~first, first]).astype(float), -np.inf
    for _ in range(max_iter + 1):
        count = belongs.sum(axis=1)
        mean = (belongs * values).sum(axis=1) / count
        variance = (belongs * (values - mean[:, None]) ** 2).sum(axis=1) / count + reg_covar
        share = count / len(values)
        density = share[:, None] * np.exp(-((values - mean[:, None]) ** 2) / (2 * variance[:, None]))
        density /= np.sqrt(2 * np.pi * variance)[:, None]
        belongs = density / density.sum(axis=0)
        likelihood = np.log(density.sum(axis=0)).mean()
        if likelihood - before < tol:
            break
        before = likelihood
    return belongs


@pytest.mark.parametrize(
    ("max_iter", "tol", "reg_covar"),
    [(10, 1e-2, 5e-4), (100, 1e-6, 1e-6), (100, 1e-4, 5e-4)],
    ids=["dividemix", "fine", "rate"],
)
def test_the_fit_is_expectation_maximisation_from_the_groups_of_k_means(agreement, max_iter, tol, reg_covar):
    """In groups that lie apart k-means finds the groups, so that the start is known."""
    values, high = two_groups(6)
    values = scale_to_unit(values)
    assert values[high].min() > values[~high].max()
    found = two_component_posterior(values, "high", max_iter=max_iter, tol=tol, reg_covar=reg_covar)
    expected = steps_by_hand(values, high, max_iter, tol, reg_covar)[1]
    agreement(two_component_posterior, "posterior after expectation maximisation", found, expected, atol=1e-9)


def test_both_components_share_every_value():
    values, _ = two_groups(4)
    both = two_component_posterior(values, "low") + two_component_posterior(values, "high")
    np.testing.assert_allclose(both, 1.0, atol=1e-12)


def test_the_result_depends_on_the_seed_only_and_leaves_the_input_alone():
    values, _ = two_groups(5)
    before, state = values.copy(), np.random.get_state()[1].copy()  # noqa: NPY002  # it must stay as it is
    one = two_component_posterior(values, "low", seed=2**62 + 7)
    assert np.array_equal(one, two_component_posterior(values, "low", seed=2**62 + 7))
    assert np.array_equal(values, before)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("component", ["low", "high"])
@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.3], [0.0] * 50])
def test_what_has_no_two_groups_belongs_to_the_one_asked_for(component, values):
    posterior = two_component_posterior(np.array(values), component)
    assert posterior.dtype == np.float64
    assert posterior.tolist() == [1.0] * len(values)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1e-12, 2e-12, 3e-12], [1e8, 1.0, 2.0, 3.0]])
def test_odd_but_finite_values_give_probabilities(values):
    posterior = two_component_posterior(np.array(values), "high")
    assert ((posterior >= 0) & (posterior <= 1)).all()


def test_stopping_early_is_silent():
    values = np.random.default_rng(0).random(500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(two_component_posterior(values, "low", max_iter=1, tol=1e-12)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float):
    with pytest.raises(ValueError, match="2 of 5 values are not finite"):
        two_component_posterior(np.array([0.0, bad, 1.0, bad, 2.0]), "low")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"'middle'.*low, high"):
        two_component_posterior(np.zeros(3), "middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        two_component_posterior(np.zeros((2, 3)), "low")


def test_numbers_are_scaled_to_reach_from_0_to_1_and_equal_ones_become_0():
    assert scale_to_unit(np.array([1.0, 3.0, 2.0], dtype=np.float32)).tolist() == [0.0, 1.0, 0.5]
    assert scale_to_unit(np.array([5.0, 5.0])).tolist() == [0.0, 0.0]
