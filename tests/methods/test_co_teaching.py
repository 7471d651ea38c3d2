"""Co-teaching: schedule, exchange against explicit sorting, ranks, the estimated rate, state."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alasca_pl.core import selected
from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.co_teaching import SmallLossExchange, scheduled_forget_rate
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep


def at(epoch: int) -> Progress:
    return Progress(epoch, 0, 100, 10)


def targets_of(index: Tensor) -> Targets:
    return Targets.unmixed(torch.zeros_like(index), index)


def kept_by_hand(losses: list[float], index: list[int], count: int) -> set[int]:
    """Rows of the smallest losses, of equal ones those with the smaller index."""
    return set(sorted(range(len(losses)), key=lambda row: (losses[row], index[row]))[:count])


def weigh(selector: SampleSelector, losses: Tensor, epoch: int, index: Tensor | None = None) -> Tensor:
    index = torch.arange(losses.shape[1]) if index is None else index
    return selector(losses, [], targets_of(index), at(epoch))


def test_the_schedule_of_the_reference_sheet(agreement):
    rates = [scheduled_forget_rate(epoch, 0.45, 30) for epoch in range(40)]
    assert [rates[0], rates[29]] == [0.0, 0.45]
    assert rates[1] == pytest.approx(0.015517, abs=1e-6)
    expected = [0.45 * min(epoch, 29) / 29 for epoch in range(40)]
    agreement(scheduled_forget_rate, "schedule of the forget rate", rates, expected, atol=1e-15)


def test_the_exponent_bends_the_end_of_the_ramp_only():
    assert scheduled_forget_rate(4, 0.3, 5, exponent=2.0) == pytest.approx(0.09)
    assert scheduled_forget_rate(2, 0.3, 5, exponent=2.0) == pytest.approx(0.045)
    assert scheduled_forget_rate(5, 0.3, 5, exponent=2.0) == 0.3


def test_short_ramps():
    assert scheduled_forget_rate(0, 0.4, 0) == 0.4
    assert [scheduled_forget_rate(epoch, 0.4, 1) for epoch in (0, 1)] == [0.0, 0.4]


@pytest.mark.parametrize("networks", [2, 3])
@pytest.mark.parametrize("rate", [0.1, 0.45, 0.8])
def test_each_network_gets_what_its_peer_finds_small(networks: int, rate: float, agreement, generator: torch.Generator):
    selector = SmallLossExchange(networks, noise_rate=rate, ramp_epochs=0)
    for _ in range(5):
        # Few values, so that many losses tie.
        losses = torch.randint(4, (networks, 13), generator=generator).float()
        index = torch.randperm(40, generator=generator)[:13]
        weight = weigh(selector, losses, 0, index)
        kept = [
            kept_by_hand(losses[(number + 1) % networks].tolist(), index.tolist(), int((1 - rate) * 13 + 1e-9))
            for number in range(networks)
        ]
        expected = [[float(row in rows) for row in range(13)] for rows in kept]
        agreement(SmallLossExchange, "exchanged selection", weight, expected, atol=0.0)


def test_only_the_peer_s_losses_count(generator: torch.Generator):
    selector = SmallLossExchange(2, noise_rate=0.5, ramp_epochs=0)
    losses = torch.rand(2, 10, generator=generator)
    changed = torch.stack([torch.rand(10, generator=generator), losses[1]])
    one, other = weigh(selector, losses, 0), weigh(selector, changed, 0)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_the_ramp_and_the_factor_reach_the_selection(generator: torch.Generator):
    selector = SmallLossExchange(2, noise_rate=0.5, rate_factor=0.8, ramp_epochs=5)
    losses = torch.rand(2, 20, generator=generator)
    kept = [int(weigh(selector, losses, epoch)[0].sum()) for epoch in range(7)]
    assert kept == [20, 18, 16, 14, 12, 12, 12]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forgetting_nothing_is_selecting_everything(dtype: torch.dtype, generator: torch.Generator):
    losses = torch.rand(2, 9, generator=generator).to(dtype)
    weight = weigh(SmallLossExchange(2, noise_rate=0.0, ramp_epochs=0), losses, 50)
    assert weight.dtype == dtype
    assert torch.equal(weight, torch.ones_like(losses))


@pytest.mark.parametrize("scale_by_kept_fraction", [False, True])
def test_a_step_that_forgets_nothing_is_a_step_without_selector(
    scale_by_kept_fraction: bool, make_network: Callable[..., Network], make_batch: Callable[..., Batch]
):
    selector = SmallLossExchange(2, noise_rate=0.0, ramp_epochs=0, scale_by_kept_fraction=scale_by_kept_fraction)
    gradients = []
    for each in (selector, None):
        networks = [make_network(seed, heads=()) for seed in (0, 1)]
        result = SupervisedStep()(
            Method(networks, [CrossEntropy(), CrossEntropy()], selector=each), make_batch(), at(20)
        )
        result.loss.backward()
        gradients.append([weight.grad for network in networks for weight in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients))


def test_a_batch_of_which_nothing_would_be_left_counts_whole(generator: torch.Generator):
    losses = torch.rand(2, 3, generator=generator)
    assert torch.equal(weigh(SmallLossExchange(2, noise_rate=0.9, ramp_epochs=0), losses, 0), torch.ones(2, 3))


def test_mixed_rows_are_selected_as_rows():
    selector = SmallLossExchange(2, noise_rate=0.5, ramp_epochs=0)
    index = torch.tensor([[5, 2, 7, 1], [2, 5, 1, 7]])
    targets = Targets(torch.zeros_like(index), index, torch.tensor([[0.7] * 4, [0.3] * 4]))
    losses = torch.tensor([[0.0, 3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 0.0]])
    weight = selector(losses, [], targets, at(0))
    # Network 0 looks at row 1 of the losses: the last, then of the ties the one with index 2.
    assert weight.tolist() == [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]


def test_the_denominator_is_an_option(make_network, make_batch):
    """Of 6 samples 3 are kept: their mean, or half of it."""
    batch = make_batch(size=6)
    terms = {}
    for scaled in (False, True):
        selector = SmallLossExchange(2, noise_rate=0.5, ramp_epochs=0, scale_by_kept_fraction=scaled)
        method = Method([make_network(0), make_network(1)], [CrossEntropy(), CrossEntropy()], selector=selector)
        terms[scaled] = SupervisedStep()(method, batch, at(0)).terms
    found, mean = ([float(terms[scaled][f"loss_base/{number}"]) for number in range(2)] for scaled in (True, False))
    assert found == pytest.approx([each / 2 for each in mean])


@pytest.mark.parametrize("sizes", [(6, 6), (7, 3), (1, 8), (0, 5)])
def test_ranks_select_together_what_one_process_selects(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
):
    """Two ranks, one after the other: first each tells what it sends, then each gets what both sent."""
    selector = SmallLossExchange(2, noise_rate=0.4, ramp_epochs=0)
    total = sum(sizes)
    losses = torch.randint(3, (2, total), generator=generator).float()
    index = torch.randperm(30, generator=generator)[:total]
    # Both ranks may have the same sample.
    index[-1] = index[0]
    alone = weigh(selector, losses, 0, index)

    parts = list(zip(losses.split(sizes, dim=1), index.split(sizes)))
    sent: list[tuple[Tensor, Tensor]] = []

    def record(index: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sent.append((index, rows))
        return torch.arange(len(index)), index, rows

    monkeypatch.setattr(selected, "gather_with_places", record)
    for own, own_index in parts:
        weigh(selector, own, 0, own_index)
    everything = torch.cat([index for index, _ in sent]), torch.cat([rows for _, rows in sent])
    together = []
    for place, (own, own_index) in zip(torch.arange(total).split(sizes), parts):
        monkeypatch.setattr(selected, "gather_with_places", lambda *_, place=place: (place, *everything))
        together.append(weigh(selector, own, 0, own_index))
    assert torch.equal(torch.cat(together, dim=1), alone)


def two_groups(count: int = 400, wrong: int = 100) -> Tensor:
    """Losses of two networks with a quarter of wrong labels."""
    random = torch.Generator().manual_seed(0)
    low = 0.1 * torch.rand(2, count - wrong, generator=random)
    return torch.cat([low, 3.0 + 0.2 * torch.rand(2, wrong, generator=random)], dim=1)


def result_of(losses: Tensor) -> ScanResult:
    return ScanResult(torch.zeros(losses.shape[1], dtype=torch.int64), losses=losses)


def test_the_rate_is_estimated_once_and_the_ramp_begins_there():
    selector = SmallLossExchange(2, noise_rate="estimated", rate_factor=0.5, ramp_epochs=5, estimate_epoch=3)
    losses = torch.rand(2, 16, generator=torch.Generator().manual_seed(1))
    for epoch in range(3):
        assert selector.scan_request(at(epoch)) is None
        assert torch.equal(weigh(selector, losses, epoch), torch.ones(2, 16))
    assert selector.scan_request(at(3)) == ScanRequest(losses=True, probs=True)
    selector.receive_scan(result_of(two_groups()), at(3))
    assert selector.scan_request(at(3)) is None
    assert selector.scan_request(at(4)) is None
    rates = [selector.forget_rate(epoch) for epoch in range(3, 10)]
    assert rates == pytest.approx([0.125 * min(step / 4, 1) for step in range(7)], abs=1e-4)
    assert int(weigh(selector, losses, 9)[1].sum()) == 14


def test_a_missed_epoch_is_made_up_for():
    selector = SmallLossExchange(2, estimate_epoch=3, ramp_epochs=2)
    assert selector.scan_request(at(8)) == ScanRequest(losses=True, probs=True)
    selector.receive_scan(result_of(two_groups()), at(8))
    assert [selector.forget_rate(epoch) for epoch in (8, 9, 20)] == pytest.approx([0.0, 0.25, 0.25], abs=1e-4)


def test_a_given_rate_asks_for_no_pass():
    selector = SmallLossExchange(2, noise_rate=0.3)
    assert all(selector.scan_request(at(epoch)) is None for epoch in range(50))


def test_saved_and_loaded_it_goes_on_with_the_same_ramp():
    selector, other = (SmallLossExchange(2, estimate_epoch=2, ramp_epochs=4) for _ in range(2))
    selector.receive_scan(result_of(two_groups()), at(2))
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.scan_request(at(5)) is None
    assert [other.forget_rate(epoch) for epoch in range(9)] == [selector.forget_rate(epoch) for epoch in range(9)]
    assert other.forget_rate(8) > 0.2


def test_forward_twice_gives_the_same(generator: torch.Generator):
    selector = SmallLossExchange(2, noise_rate=0.3, ramp_epochs=0)
    losses = torch.rand(2, 9, generator=generator)
    before = losses.clone()
    assert torch.equal(weigh(selector, losses, 1), weigh(selector, losses, 1))
    assert torch.equal(losses, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_rate", 1.2),
        ("noise_rate", -0.1),
        ("noise_rate", math.nan),
        ("rate_factor", -0.5),
        ("rate_factor", 3.0),
        ("ramp_epochs", -1),
        ("ramp_epochs", 2.5),
        ("exponent", 0.0),
        ("estimate_epoch", -2),
    ],
)
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        SmallLossExchange(**{"num_networks": 2, "noise_rate": 0.4, name: value})


@pytest.mark.parametrize("word", ["oracle", "nominal", "0.4"])
def test_a_word_in_place_of_the_rate_is_refused(word: str):
    with pytest.raises(ValueError, match=f"noise_rate='{word}' is not a number.*'estimated'"):
        SmallLossExchange(2, noise_rate=word)  # type: ignore[arg-type]


def test_one_network_has_no_peer():
    with pytest.raises(ValueError, match="num_networks=1"):
        SmallLossExchange(1, noise_rate=0.4)
