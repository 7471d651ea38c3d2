"""DivideMix's filter: which group of losses, whose word counts, state."""

import io
import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.dividemix import MixtureFilter

N = 40
NOW = Progress(epoch=12, step=60, max_epochs=100, steps_per_epoch=5)


def two_groups(seed: int = 0, networks: int = 2) -> Tensor:
    """Losses around 0.5 and 4; which samples have the high ones differs between networks."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(networks):
        row = np.where(np.arange(N) < N // 2, random.normal(0.5, 0.1, N), random.normal(4.0, 0.5, N))
        rows.append(random.permutation(row))
    return torch.from_numpy(np.stack(rows)).float()


def look(losses: Tensor) -> ScanResult:
    return ScanResult(label=torch.zeros(N, dtype=torch.int64), losses=losses)


def weights(part: MixtureFilter, index: Tensor, networks: int = 2) -> Tensor:
    targets = Targets.unmixed(torch.zeros_like(index), index)
    return part(torch.zeros(networks, len(index)), [torch.zeros(len(index), 3)] * networks, targets, NOW)


def test_it_asks_for_losses_from_the_end_of_the_warmup_on():
    part = MixtureFilter(N, 2, warmup_epochs=12)
    assert [part.scan_request(NOW._replace(epoch=e)) for e in (0, 11, 12, 30)] == [
        None,
        None,
        *[ScanRequest(losses=True)] * 2,
    ]


def test_everything_counts_as_clean_before_the_first_fit():
    part = MixtureFilter(N, 2, threshold=0.9)
    assert part.confidence(torch.zeros(N)) is None
    assert (part.clean_probability(torch.arange(3)) == 1).all()
    assert (weights(part, torch.arange(6)) == 1).all()


def test_probabilities_are_those_of_the_lower_group_of_scaled_losses():
    losses = two_groups()
    part = MixtureFilter(N, 2)
    part.receive_scan(look(losses), NOW)
    for number in range(2):
        values = losses[number].double().numpy()
        values = (values - values.min()) / (values.max() - values.min())
        model = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=1).fit(values[:, None])
        expected = model.predict_proba(values[:, None])[:, model.means_.argmin()]
        np.testing.assert_allclose(part.confidence(torch.zeros(N))[number].numpy(), expected, atol=1e-3)
        assert ((expected > 0.5) == (losses[number].numpy() < 2)).all()


@pytest.mark.parametrize("networks", [1, 2, 3])
def test_each_network_goes_by_the_word_of_the_next(networks: int, agreement):
    losses, index = two_groups(networks=networks), torch.tensor([7, 3, 25, 0])
    part = MixtureFilter(N, networks)
    part.receive_scan(look(losses), NOW)
    own = part.confidence(torch.zeros(N))
    kept, told = weights(part, index, networks), part.clean_probability(index)
    peers = [(m + 1) % networks for m in range(networks)]
    expected = [[float(losses[peer, i] < 2) for i in index.tolist()] for peer in peers]
    agreement(MixtureFilter, "labelled samples", kept, expected, atol=0.0)
    assert told.tolist() == [[own[peer, i].item() for i in index.tolist()] for peer in peers]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
def test_what_is_above_the_threshold_is_kept_and_zero_keeps_all(threshold: float):
    part = MixtureFilter(4, 1, threshold=threshold)
    part.clean.rows.copy_(torch.tensor([[0.0], [0.3], [0.5], [1.0]]))
    expected = {0.0: [1, 1, 1, 1], 0.3: [0, 0, 1, 1], 0.9: [0, 0, 0, 1]}[threshold]
    assert weights(part, torch.arange(4), 1).tolist() == [expected]


def test_a_mixed_row_counts_by_the_share_that_is_kept():
    part = MixtureFilter(3, 1)
    part.clean.rows.copy_(torch.tensor([[0.9], [0.1], [0.7]]))
    targets = Targets(
        torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[0, 0], [1, 2]]), torch.tensor([[0.6, 0.8], [0.4, 0.2]])
    )
    kept = part(torch.zeros(1, 2), [torch.zeros(2, 3)], targets, NOW)
    assert kept.tolist() == [pytest.approx([0.6, 1.0])]


def test_a_memory_averages_the_latest_scaled_losses():
    looks = [two_groups(seed) for seed in range(4)]
    with_memory, alone = MixtureFilter(N, 2, memory_epochs=3), MixtureFilter(N, 2)
    for epoch, losses in enumerate(looks):
        with_memory.receive_scan(look(losses), NOW._replace(epoch=epoch))
        recent = looks[max(0, epoch - 2) : epoch + 1]
        mean = sum((x - x.amin(1, True)) / (x.amax(1, True) - x.amin(1, True)) for x in recent) / len(recent)
        # Not scaled again by the part itself, so that the range of the mean must reach the fit as it is.
        expected = alone._fit(mean, epoch).float()
        torch.testing.assert_close(with_memory.clean.rows, expected, atol=1e-5, rtol=1e-4)


def test_losses_without_two_groups_keep_everything():
    part = MixtureFilter(N, 1)
    part.receive_scan(look(torch.full((1, N), 2.0)), NOW)
    assert (weights(part, torch.arange(N), 1) == 1).all()


def test_losses_that_are_not_finite_stop_the_run():
    losses = two_groups()
    losses[1, 3] = math.nan
    with pytest.raises(FloatingPointError, match="before epoch 13"):
        MixtureFilter(N, 2).receive_scan(look(losses), NOW)


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    part, other = MixtureFilter(N, 2, memory_epochs=3), MixtureFilter(N, 2, memory_epochs=3)
    for epoch in range(3):
        part.receive_scan(look(two_groups(epoch)), NOW._replace(epoch=epoch))
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.confidence(torch.zeros(N)), part.confidence(torch.zeros(N)))
    for each in (part, other):
        each.receive_scan(look(two_groups(9)), NOW)
    assert torch.equal(part.clean.rows, other.clean.rows)


def test_forward_leaves_the_probabilities_alone():
    part = MixtureFilter(N, 2)
    part.receive_scan(look(two_groups()), NOW)
    before = part.clean.rows.clone()
    assert torch.equal(weights(part, torch.arange(N)), weights(part, torch.arange(N)))
    assert torch.equal(part.clean.rows, before)


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.0), ("threshold", -0.1), ("memory_epochs", 0), ("warmup_epochs", -1)]
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        MixtureFilter(N, 2, **{name: value})
