"""Whole runs at the limits of a method: what it then reduces to, bit for bit."""

import pytest

from running import SMALLER, assert_same_bits, checkpoint, method_overrides, slow_unless, train

# Method, its limit, and the number of networks of plain cross-entropy that it then is.
LIMITS = {
    "forget rate 0": ("co_teaching", ("selector.noise_rate=0",), 2),
    "estimate not yet due": ("co_teaching", ("selector.noise_rate=estimated", "selector.estimate_epoch=9"), 2),
    "threshold 0": ("fine", ("selector.threshold=0",), 1),
    "threshold 0, exchanged": ("f_coteaching", ("selector.threshold=0",), 2),
    "within warm-up": ("dividemix", ("selector.warmup_epochs=9",), 2),
    "noise rate 0": ("cdr", ("gradient_transform.noise_rate=0",), 1),
    "strength 0": ("har", ("regularizers.har.strength=0",), 1),
    # Every sample is a medoid of its own and stands for itself alone.
    "all of them medoids": ("crust", ("selector.fraction=1", "selector.radius=1e-30", "mixer.start_epoch=9"), 1),
    "forget rate and agreement 0": ("jocor", ("selector.noise_rate=0", "regularizers.agreement.strength=0"), 2),
    "forget rate 0 and no disagreement asked for": (
        "co_teaching_plus",
        ("selector.noise_rate=0", "selector.start_epoch=9"),
        2,
    ),
    "no confidence and no sieve": ("cores2", ("criterion.strength=0", "selector.start_epoch=9"), 1),
    "before the first look at neighbours": ("neighbours", ("selector.warmup_epochs=9",), 1),
    "before the first phase": (
        "pes",
        ("phases.refine_last_stage.start=7", "phases.select.start=9", "selector.start_epoch=9"),
        1,
    ),
}
FAST = ("forget rate 0", "estimate not yet due", "threshold 0", "threshold 0, exchanged", "within warm-up", "noise rate 0",
        "strength 0", "all of them medoids")  # fmt: skip
SIZE = (*SMALLER, "model.norm=batch", "alasca=none")


def weights(folder):
    state = checkpoint(folder)
    return state["optimizer_states"], {k: v for k, v in state["state_dict"].items() if ".networks." in k}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Weights of plain cross-entropy, by number of networks."""
    folder = tmp_path_factory.mktemp("plain")
    for number in (1, 2):
        train(folder / str(number), *SIZE, "method=ce", f"num_networks={number}")
    return {number: weights(folder / str(number)) for number in (1, 2)}


@pytest.mark.parametrize("limit", slow_unless(FAST, LIMITS))
def test_a_method_at_its_limit_is_cross_entropy(tmp_path, plain, limit):
    method, overrides, networks = LIMITS[limit]
    train(tmp_path / "run", *SIZE, *method_overrides(method), *overrides)
    assert_same_bits(weights(tmp_path / "run"), plain[networks])


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted({method for method, _, _ in LIMITS.values()}))
def test_away_from_its_limit_it_is_not(tmp_path, plain, method):
    train(tmp_path / "run", *SIZE, *method_overrides(method))
    networks = {name: count for name, _, count in LIMITS.values()}[method]
    with pytest.raises(AssertionError, match="differs"):
        assert_same_bits(weights(tmp_path / "run"), plain[networks])
