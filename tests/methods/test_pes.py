"""PES: class weights and selection by hand, state, and its MixMatch."""

import io

import pytest
import torch

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.pes import PredictedLabelSelector, balancing_weights


def at(epoch: int) -> Progress:
    return Progress(epoch, 0, 200, 10)


def selector_for(networks: int = 1, **values) -> PredictedLabelSelector:
    return PredictedLabelSelector(30, 3, networks, **{"start_epoch": 0, **values})


def scanned(generator: torch.Generator, networks: int = 1) -> ScanResult:
    probs = torch.randn(networks, 30, 3, generator=generator).softmax(dim=2)
    return ScanResult(torch.randint(3, (30,), generator=generator), probs=probs)


def test_weights_of_the_reference_sheet(agreement):
    counts = torch.tensor([10.0, 40.0, 0.0, 100.0])
    agreement(balancing_weights, "class weights", balancing_weights(counts), [5, 1.25, 0, 0.5], atol=1e-7)
    assert balancing_weights(counts, 3.0).tolist() == [3, 1.25, 0, 0.5]
    assert balancing_weights(torch.tensor([7.0, 7.0])).tolist() == [1.0, 1.0]
    assert balancing_weights(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("largest", [None, 1.1])
def test_selection_equals_loops(largest: float | None, agreement, generator: torch.Generator):
    selector, result = selector_for(2, largest_weight=largest), scanned(generator, 2)
    selector.receive_scan(result, at(0))
    targets = Targets.unmixed(result.label, torch.arange(30))
    expected = []
    for probs in result.probs.tolist():
        kept = [row.index(max(row)) == y for row, y in zip(probs, result.label.tolist())]
        counts = [sum(1 for k, y in zip(kept, result.label.tolist()) if k and y == c) for c in range(3)]
        mean = sum(counts) / sum(1 for count in counts if count)
        of_class = [min(mean / count if count else 0.0, largest or 99.0) for count in counts]
        expected.append([of_class[y] if k else 0.0 for k, y in zip(kept, result.label.tolist())])
    found = selector(torch.zeros(2, 30), [], targets, at(0))
    agreement(PredictedLabelSelector, "weights", found, expected, atol=1e-6)
    assert torch.equal(selector.clean_probability(torch.arange(30)) > 0, found > 0)
    # A mixed row counts by the weights of both.
    index = torch.tensor([[0, 1, 2], [9, 8, 7]])
    mixed = Targets(result.label[index], index, torch.tensor([[0.7] * 3, [0.3] * 3]))
    torch.testing.assert_close(
        selector(torch.zeros(2, 3), [], mixed, at(0)), 0.7 * found[:, index[0]] + 0.3 * found[:, index[1]]
    )


def test_weighted_mean_is_the_authors_cross_entropy(generator: torch.Generator):
    """The step divides by the summed weights, as torch's weighted mean does."""
    selector, result = selector_for(), scanned(generator)
    selector.receive_scan(result, at(0))
    kept = selector.kept.rows[:, 0].bool()
    logits = torch.randn(30, 3, generator=generator)
    weight = selector(torch.zeros(1, 30), [], Targets.unmixed(result.label, torch.arange(30)), at(0))[0]
    losses = torch.nn.functional.cross_entropy(logits, result.label, reduction="none")
    theirs = torch.nn.functional.cross_entropy(logits[kept], result.label[kept], weight=selector.class_weights()[0])
    torch.testing.assert_close((weight * losses).sum() / weight.sum(), theirs)


def test_until_its_epoch_all_samples_count(generator: torch.Generator):
    selector, result = selector_for(start_epoch=5), scanned(generator)
    assert [selector.scan_request(at(epoch)) for epoch in (4, 5)] == [None, ScanRequest(probs=True)]
    targets = Targets.unmixed(result.label, torch.arange(30))
    assert torch.equal(selector(torch.zeros(1, 30), [], targets, at(4)), torch.ones(1, 30))
    assert selector.confidence(result.label) is None
    selector.receive_scan(result, at(5))
    assert torch.equal(selector.confidence(result.label), selector.kept.rows.T)


def test_saved_and_loaded_it_selects_the_same(generator: torch.Generator):
    selector, other = selector_for(), selector_for()
    selector.receive_scan(scanned(generator), at(0))
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.kept.rows, selector.kept.rows)
    assert torch.equal(other.class_weights(), selector.class_weights())


@pytest.mark.parametrize(("name", "value"), [("start_epoch", -1), ("largest_weight", 0.0)])
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        selector_for(**{name: value})
