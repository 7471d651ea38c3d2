"""Confidence in labels and the smoothing that follows, against explicit arithmetic."""

import math
from collections.abc import Callable

import pytest
import torch

from alasca_pl.alasca.confidence import LabelConfidence
from alasca_pl.core.types import Progress, Targets

MakeProgress = Callable[..., Progress]
LOGITS = torch.tensor([[2.0, 1.0, 0.0]])
ONE = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))


def softmax_by_hand(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]


def test_worked_example(make_progress: MakeProgress):
    # Momentum 0.7, temperature 1/3, label 0: methods sheet, section 8.
    trust = LabelConfidence(1, 3, momentum=0.7, temperature=1 / 3, ramp_epochs=0)
    for expected in (0.636186, 0.791500, 0.863016):
        trust.observe(LOGITS, torch.tensor([0]))
        assert trust.of_labels(torch.tensor([0])).item() == pytest.approx(expected, abs=1e-6)
        assert trust.smoothing(ONE, make_progress()).item() == pytest.approx(1 - expected, abs=1e-6)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.0), (15, 0.5), (24, 0.8), (30, 1.0), (31, 1.0), (99, 1.0)])
def test_confidence_ramps_from_one_to_its_value(epoch: int, share: float, make_progress: MakeProgress):
    trust = LabelConfidence(1, 3, ramp_epochs=30)
    trust.observe(LOGITS, torch.tensor([0]))
    expected = share * (1 - 0.636186)
    assert trust.smoothing(ONE, make_progress(epoch)).item() == pytest.approx(expected, abs=1e-6)


def test_defaults_are_those_of_the_paper():
    trust = LabelConfidence(2, 3)
    assert (trust.table.momentum, trust.temperature, trust.ramp_epochs, trust.exponent) == (0.7, 1 / 3, 30, 1.0)
    assert trust.ema_on == "logits"


def test_averages_logits_and_not_probabilities_unless_told(agreement, make_progress: MakeProgress):
    """Two visits with opposite predictions: the average is recomputed with explicit loops."""
    first, second = [4.0, 0.0, -1.0], [-3.0, 1.0, 0.5]
    for kind in ("logits", "probs"):
        trust = LabelConfidence(1, 3, momentum=0.6, temperature=0.5, ema_on=kind, ramp_epochs=0)
        average = [0.0, 0.0, 0.0]
        for logits in (first, second):
            trust.observe(torch.tensor([logits]), torch.tensor([0]))
            seen = logits if kind == "logits" else softmax_by_hand(logits, 1.0)
            average = [0.6 * old + 0.4 * new for old, new in zip(average, seen)]
        if kind == "logits":
            expected = softmax_by_hand(average, 0.5)
        else:
            sharp = [value ** (1 / 0.5) for value in average]
            expected = [value / sum(sharp) for value in sharp]
        targets = Targets.unmixed(torch.arange(3), torch.zeros(3, dtype=torch.int64))
        smoothing = trust.smoothing(targets, make_progress())[0]
        agreement(
            LabelConfidence, f"smoothing from averaged {kind}", smoothing, [1 - each for each in expected], atol=1e-6
        )


@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_before_any_visit_all_classes_are_alike(kind: str):
    trust = LabelConfidence(3, 4, ema_on=kind)
    torch.testing.assert_close(trust.of_labels(torch.tensor([0, 3, 1])), torch.full((3,), 0.25))


def test_without_momentum_only_the_latest_prediction_counts():
    trust = LabelConfidence(1, 3, momentum=0.0, temperature=1.0)
    trust.observe(torch.tensor([[-9.0, 5.0, 2.0]]), torch.tensor([0]))
    trust.observe(LOGITS, torch.tensor([0]))
    assert trust.of_labels(torch.tensor([0])).item() == pytest.approx(0.665241, abs=1e-6)


@pytest.mark.parametrize("exponent", [0.6, 1.0, 2.0])
def test_exponent_bends_the_ramped_smoothing(exponent: float, make_progress: MakeProgress):
    trust = LabelConfidence(1, 3, ramp_epochs=30, exponent=exponent)
    trust.observe(LOGITS, torch.tensor([0]))
    expected = (0.5 * (1 - 0.636186)) ** exponent
    assert trust.smoothing(ONE, make_progress(15)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["logits", "probs"])
@pytest.mark.parametrize("exponent", [0.6, 1.0])
def test_smoothing_stays_in_its_range_for_extreme_predictions(kind: str, exponent: float, make_progress: MakeProgress):
    trust = LabelConfidence(6, 3, momentum=0.0, ema_on=kind, ramp_epochs=30, exponent=exponent)
    extreme = torch.tensor([1e4, 60.0, 16.6, 5.5, 1e-3, 0.0])
    trust.observe(torch.stack([extreme, -extreme, torch.zeros(6)], dim=1), torch.arange(6))
    for label in range(3):
        targets = Targets.unmixed(torch.full((6,), label), torch.arange(6))
        for epoch in range(32):
            smoothing = trust.smoothing(targets, make_progress(epoch))
            assert torch.isfinite(smoothing).all() and (smoothing >= 0).all() and (smoothing <= 1).all()


def test_each_label_of_a_mixed_row_is_judged_by_its_own_sample(make_progress: MakeProgress):
    trust = LabelConfidence(3, 2, momentum=0.0, temperature=1.0, ramp_epochs=0)
    rows = [[1.0, 0.0], [0.0, 3.0], [-2.0, 2.0]]
    trust.observe(torch.tensor(rows), torch.arange(3))
    index, label = torch.tensor([[0, 1, 2], [2, 0, 1]]), torch.tensor([[0, 0, 1], [1, 1, 0]])
    smoothing = trust.smoothing(Targets(label, index, torch.full((2, 3), 0.5)), make_progress())
    assert smoothing.shape == (2, 3)
    for v in range(2):
        for b in range(3):
            confidence = softmax_by_hand(rows[index[v, b]], 1.0)[label[v, b]]
            assert smoothing[v, b].item() == pytest.approx(1 - confidence, abs=1e-6)


def test_no_gradient_reaches_the_smoothing(make_progress: MakeProgress):
    trust = LabelConfidence(1, 3, ramp_epochs=0)
    trust.observe(LOGITS.clone().requires_grad_(), torch.tensor([0]))
    assert not trust.smoothing(ONE, make_progress()).requires_grad
    assert not trust.of_labels(torch.tensor([0])).requires_grad


def test_asking_twice_gives_the_same_and_leaves_the_table_alone(make_progress: MakeProgress):
    trust = LabelConfidence(1, 3)
    trust.observe(LOGITS, torch.tensor([0]))
    before = trust.table.rows.clone()
    first = trust.smoothing(ONE, make_progress(20))
    assert torch.equal(first, trust.smoothing(ONE, make_progress(20)))
    trust.of_labels(torch.tensor([1]))
    assert torch.equal(before, trust.table.rows)


@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_saved_and_loaded_it_says_the_same(kind: str, make_progress: MakeProgress):
    trust, other = (LabelConfidence(1, 3, ema_on=kind, ramp_epochs=0) for _ in range(2))
    trust.observe(LOGITS, torch.tensor([0]))
    assert not torch.equal(trust.smoothing(ONE, make_progress()), other.smoothing(ONE, make_progress()))
    other.load_state_dict(trust.state_dict())
    for each in (trust, other):
        each.observe(LOGITS, torch.tensor([0]))
    assert torch.equal(trust.smoothing(ONE, make_progress()), other.smoothing(ONE, make_progress()))


def test_half_precision_predictions_are_averaged_in_float32(make_progress: MakeProgress):
    trust = LabelConfidence(1, 3, ramp_epochs=0)
    trust.observe(LOGITS.bfloat16(), torch.tensor([0]))
    assert 1 - trust.smoothing(ONE, make_progress()).item() == pytest.approx(0.636186, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("ramp_epochs", -1),
        ("exponent", 0.0),
        ("momentum", 1.0),
        ("ema_on", "logit"),
    ],
)
def test_a_value_outside_its_range_is_named(name: str, value: float | str):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        LabelConfidence(2, 3, **{name: value})


@pytest.mark.parametrize("ema_on", ["logits", "probs"])
def test_half_a_table_changes_a_confidence_by_its_rounding_only(ema_on, generator):
    whole, half = (LabelConfidence(6, 5, 0.7, ema_on=ema_on, half_table=each) for each in (False, True))
    for _ in range(4):
        logits = 4 * torch.randn(6, 5, generator=generator)
        for each in (whole, half):
            each.observe(logits, torch.arange(6))
    label = torch.arange(6) % 5
    one, other = whole.of_labels(label), half.of_labels(label)
    assert other.dtype == torch.float32 and half.table.rows.dtype == torch.float16
    assert 0 < (one - other).abs().max() < 0.01
    # It is also what a step reads.
    smoothing = half.smoothing(Targets.unmixed(label, torch.arange(6)), Progress(60, 600, 120, 10))
    torch.testing.assert_close(1 - smoothing[0], other)


def test_confidence_of_all_labels_does_not_depend_on_pieces(monkeypatch, generator):
    trust = LabelConfidence(10, 3)
    trust.observe(torch.randn(10, 3, generator=generator), torch.arange(10))
    label = torch.arange(10) % 3
    whole = trust.of_labels(label)
    monkeypatch.setattr("alasca_pl.alasca.confidence._ROWS", 4)
    assert torch.equal(trust.of_labels(label), whole)
