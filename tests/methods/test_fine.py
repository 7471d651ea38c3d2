"""FINE: directions and scores against loops, the schedule, selection of planted noise, exchange, state."""

import io
import logging
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.fine import FineSelector, alignment_scores, class_eigenvectors, clean_posterior

CLASSES, SIZE = 3, 6


def at(epoch: int) -> Progress:
    return Progress(epoch, 0, 200, 10)


def planted(
    seed: int, count: int = 240, networks: int = 1, wrong_share: float = 0.25, spread: float = 0.1
) -> tuple[Tensor, Tensor, Tensor]:
    """Features near the direction of the true class, labels of which some are wrong, and which these are."""
    random = torch.Generator().manual_seed(seed)
    clean = torch.arange(count) % CLASSES
    wrong = torch.rand(count, generator=random) < wrong_share
    label = torch.where(wrong, (clean + 1) % CLASSES, clean)
    direction = torch.eye(SIZE)[:CLASSES]
    length = 0.5 + torch.rand(networks, count, 1, generator=random)
    features = length * direction[clean] + spread * torch.randn(networks, count, SIZE, generator=random)
    return features, label, wrong


def selector_for(count: int = 240, networks: int = 1, **values) -> FineSelector:
    return FineSelector(count, CLASSES, networks, **{"warmup_epochs": 0, "every": 1, **values})


def weights(selector: FineSelector, index: Tensor, networks: int = 1) -> Tensor:
    losses = torch.zeros(networks, len(index))
    return selector(losses, [], Targets.unmixed(torch.zeros_like(index), index), at(0))


def leading_by_power(rows: list[list[float]]) -> np.ndarray:
    """The main direction by repeated multiplication."""
    vector = np.ones(len(rows[0]))
    for _ in range(500):
        vector = sum(np.array(row) * sum(a * b for a, b in zip(row, vector)) for row in rows)
        vector = vector / math.sqrt(sum(v * v for v in vector))
    return vector


@pytest.mark.parametrize("width", [4, 9])
def test_directions_and_scores_equal_loops_over_samples(agreement, generator: torch.Generator, width: int):
    """With more features than samples of a class, too."""
    features = torch.rand(20, width, generator=generator, dtype=torch.float64)
    label = torch.arange(20) % CLASSES
    reference = torch.rand(20, generator=generator) < 0.7
    vectors = class_eigenvectors(features, label, reference, CLASSES)
    scores = alignment_scores(features, label, vectors)
    expected = [0.0] * 20
    for k in range(CLASSES):
        rows = [features[i].tolist() for i in range(20) if label[i] == k and reference[i]]
        direction = leading_by_power(rows)
        # An eigenvector has no sign.
        sign = np.sign(float(direction @ vectors[k].numpy()))
        agreement(class_eigenvectors, "main directions", vectors[k], sign * direction, atol=1e-9)
        for i in range(20):
            if label[i] == k:
                z = features[i].tolist()
                cosine = sum(a * b for a, b in zip(z, direction)) / math.sqrt(sum(a * a for a in z))
                expected[i] = abs(cosine)
    agreement(alignment_scores, "scores", scores, expected, atol=1e-9)


def test_features_along_one_direction_have_the_score_one():
    direction = torch.tensor([1.0, 2.0, -2.0])
    features = torch.rand(8, 1, generator=torch.Generator().manual_seed(0)) * direction
    label = torch.zeros(8, dtype=torch.int64)
    vectors = class_eigenvectors(features, label, torch.ones(8, dtype=torch.bool), 1)
    assert alignment_scores(features, label, vectors).tolist() == pytest.approx([1.0] * 8, abs=1e-9)
    # All alike, so there are no two groups and everything stays.
    assert vectors[0].abs().tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_scores_ignore_sign_and_length_and_zero_features_have_the_score_zero(generator: torch.Generator):
    features = torch.randn(6, 4, generator=generator)
    features[2] = 0.0
    label, vectors = torch.zeros(6, dtype=torch.int64), torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    scores = alignment_scores(features, label, vectors)
    assert scores[2] == 0.0
    torch.testing.assert_close(alignment_scores(-3.0 * features, label, -vectors), scores)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_class_without_two_reference_samples_takes_all_its_samples(generator: torch.Generator):
    features, label = torch.rand(6, 3, generator=generator), torch.tensor([0, 0, 0, 0, 1, 1])
    everything = torch.ones(6, dtype=torch.bool)
    reference = torch.tensor([True, False, False, False, True, True])
    chosen = class_eigenvectors(features, label, reference, CLASSES)
    assert torch.equal(chosen, class_eigenvectors(features, label, everything, CLASSES))
    assert torch.equal(chosen[2], torch.zeros(3, dtype=torch.float64))


def test_tiny_classes_are_kept():
    scores, label = torch.tensor([0.3, 0.9, 0.9, 0.1]), torch.tensor([0, 1, 1, 2])
    assert clean_posterior(scores, label, 4, seed=0).tolist() == [1.0] * 4


def test_classes_are_fitted_apart(generator: torch.Generator):
    scores, label = torch.rand(60, generator=generator), torch.arange(60) % 2
    changed = torch.where(label == 1, 0.5 * scores, scores)
    one, other = clean_posterior(scores, label, 2, seed=5), clean_posterior(changed, label, 2, seed=5)
    assert torch.equal(one[label == 0], other[label == 0])


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ({"warmup_epochs": 40, "every": 10, "phase": 1}, [41, 51, 61, 71, 81, 91, 101, 111]),
        ({"warmup_epochs": 40, "every": 10, "phase": 3}, [43, 53, 63, 73, 83, 93, 103, 113]),
        ({"warmup_epochs": 1, "every": 1, "phase": 1}, list(range(2, 121))),
        ({"warmup_epochs": 0, "every": 50, "phase": 1}, [1, 51, 101]),
    ],
)
def test_looks_are_taken_before_these_epochs_counted_from_one(values: dict[str, int], epochs: list[int]):
    selector = FineSelector(4, 2, 1, **values)
    assert [
        epoch + 1 for epoch in range(120) if selector.scan_request(at(epoch)) == ScanRequest(features=True)
    ] == epochs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_noise_is_found(seed: int):
    features, label, wrong = planted(seed)
    selector = selector_for(seed=seed)
    for epoch in range(2):
        selector.receive_scan(ScanResult(label, features=features), at(epoch))
        weight = weights(selector, torch.arange(240))[0]
        assert weight[~wrong].mean() > 0.9
        assert weight[wrong].mean() < 0.05
    confidence = selector.confidence(label)
    assert confidence is not None
    assert confidence.shape == (1, 240)
    assert confidence[0, ~wrong].mean() > confidence[0, wrong].mean() + 0.8


def test_a_refresh_is_the_chain_of_its_functions():
    features, label, _ = planted(3)
    selector = selector_for(reference="selected", threshold=0.6)
    reference = torch.ones(240, dtype=torch.bool)
    for epoch in range(3):
        selector.receive_scan(ScanResult(label, features=features), at(epoch))
        scores = alignment_scores(features[0], label, class_eigenvectors(features[0], label, reference, CLASSES))
        for k in range(CLASSES):
            members = label == k
            # Higher scores have higher posteriors here: the groups lie far apart and the upper one is narrow.
            kept = selector.selected[0, members]
            assert scores[members][kept].min() > scores[members][~kept].max()
        reference = selector.selected[0]


def test_the_reference_of_later_looks_is_a_choice():
    features, label, _ = planted(4, wrong_share=0.4, spread=0.4)
    tables = {}
    for reference in ("selected", "all"):
        selector = selector_for(reference=reference)
        for epoch in range(2):
            selector.receive_scan(ScanResult(label, features=features), at(epoch))
            tables[reference, epoch] = selector.posterior.rows.clone()
    assert torch.allclose(tables["selected", 0], tables["all", 0], atol=1e-6)
    assert torch.allclose(tables["all", 0], tables["all", 1], atol=1e-3)
    assert not torch.allclose(tables["selected", 1], tables["all", 1], atol=1e-3)


def test_before_the_first_look_everything_counts_and_there_is_no_opinion():
    selector = selector_for(count=5, networks=2)
    assert torch.equal(weights(selector, torch.arange(5), 2), torch.ones(2, 5))
    assert selector.confidence(torch.zeros(5, dtype=torch.int64)) is None


def test_threshold_zero_keeps_everything():
    features, label, _ = planted(1)
    selector = selector_for(threshold=0.0)
    selector.receive_scan(ScanResult(label, features=features), at(0))
    assert selector.posterior.rows.min() < 1e-6
    assert torch.equal(weights(selector, torch.arange(240)), torch.ones(1, 240))


def test_a_class_of_which_nothing_is_left_is_reported(caplog: pytest.LogCaptureFixture):
    features, label, _ = planted(1)
    # Uniform angles, so that no posterior of this class reaches 1.
    angle = torch.linspace(0.1, 1.2, int((label == 2).sum()))
    features[0, label == 2] = torch.stack([angle.cos(), angle.sin()], dim=1) @ torch.eye(SIZE)[2:4]
    selector = selector_for(threshold=1.0)
    with caplog.at_level(logging.INFO):
        selector.receive_scan(ScanResult(label, features=features), at(0))
    left = [int(selector.selected[0, label == k].sum()) for k in range(CLASSES)]
    assert left[2] == 0
    assert sum("no sample is selected of class" in message and "2" in message for message in caplog.messages) == 1
    assert f"network 0: selected {sum(left)} of 240 samples" in caplog.messages
    # The next look starts from all samples of the class again.
    selector.receive_scan(ScanResult(label, features=features), at(1))
    assert torch.isfinite(selector.posterior.rows).all()


def test_networks_look_at_their_own_features_and_may_exchange():
    features, label, _ = planted(2, networks=3, spread=0.4)
    plain, exchanged = selector_for(networks=3), selector_for(networks=3, exchange=True)
    for selector in (plain, exchanged):
        selector.receive_scan(ScanResult(label, features=features), at(0))
    alone = selector_for(networks=1)
    alone.receive_scan(ScanResult(label, features=features[:1]), at(0))
    assert torch.equal(plain.selected[0], alone.selected[0])
    assert torch.equal(plain.selected, exchanged.selected)
    index = torch.randperm(240, generator=torch.Generator().manual_seed(0))[:50]
    one, other = weights(plain, index, 3), weights(exchanged, index, 3)
    assert not torch.equal(one[0], one[1])
    for number in range(3):
        assert torch.equal(other[number], one[(number + 1) % 3])


@pytest.mark.parametrize(("exchange", "aligned"), [(True, [3, 4, 5]), (False, [0, 1, 2])])
def test_the_reference_is_what_a_network_was_trained_on(exchange: bool, aligned: list[int]):
    """One class. Network 0 selected 0 to 2 and network 1 the rest, which are nearly orthogonal to them.

    With an exchange network 0 was trained on 3 to 5, so that its next direction is theirs.
    """
    features = torch.tensor([[1, 0.01], [1, 0.02], [1, 0.03], [0.01, 1], [0.02, 1], [0.03, 1]])
    selector = FineSelector(6, num_classes=1, num_networks=2, warmup_epochs=0, every=1, phase=0, exchange=exchange)
    selector.posterior.fill(torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3))
    result = ScanResult(torch.zeros(6, dtype=torch.int64), features=torch.stack([features, features]))
    selector.receive_scan(result, at(1))
    assert selector.posterior.rows[:, 0].ge(0.5).nonzero().flatten().tolist() == aligned
    assert selector.posterior.rows[:, 1].ge(0.5).nonzero().flatten().tolist() == [3 - aligned[0] + i for i in range(3)]


def test_a_mixed_row_counts_by_its_shares(generator: torch.Generator):
    features, label, _ = planted(0, networks=2)
    selector = selector_for(networks=2)
    selector.receive_scan(ScanResult(label, features=features), at(0))
    index = torch.randint(240, (2, 30), generator=generator)
    share = torch.rand(30, generator=generator)
    targets = Targets(label[index], index, torch.stack([share, 1 - share]))
    weight = selector(torch.zeros(2, 30), [], targets, at(0))
    for m in range(2):
        for b in range(30):
            kept = [float(selector.selected[m, index[v, b]]) for v in range(2)]
            expected = share[b].item() * kept[0] + (1 - share[b].item()) * kept[1]
            assert weight[m, b].item() == pytest.approx(expected, abs=1e-6)


def test_the_weights_follow_the_type_of_the_losses_and_forward_changes_nothing():
    features, label, _ = planted(0)
    selector = selector_for()
    selector.receive_scan(ScanResult(label, features=features), at(0))
    before = selector.posterior.rows.clone()
    targets = Targets.unmixed(label[:9], torch.arange(9))
    one, other = (selector(torch.zeros(1, 9, dtype=torch.float64), [], targets, at(0)) for _ in range(2))
    assert one.dtype == torch.float64
    assert torch.equal(one, other)
    assert torch.equal(before, selector.posterior.rows)


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    features, label, _ = planted(0, wrong_share=0.4, spread=0.4)
    selector, other = selector_for(), selector_for()
    selector.receive_scan(ScanResult(label, features=features), at(0))
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.selected, selector.selected)
    assert other.confidence(label) is not None
    for each in (selector, other):
        each.receive_scan(ScanResult(label, features=features), at(1))
    assert torch.equal(other.posterior.rows, selector.posterior.rows)


def test_features_of_a_diverged_run_are_refused():
    features, label, _ = planted(0)
    features[0, 3, 2] = math.nan
    with pytest.raises(ValueError, match="before epoch 1 are not finite"):
        selector_for().receive_scan(ScanResult(label, features=features), at(0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.5),
        ("threshold", math.nan),
        ("warmup_epochs", -1),
        ("every", 0),
        ("phase", 1.5),
        ("reference", "some"),
    ],
)
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        FineSelector(4, 2, 1, **{name: value})  # type: ignore[arg-type]


def test_one_network_has_nobody_to_exchange_with():
    with pytest.raises(ValueError, match="num_networks=1"):
        FineSelector(4, 2, 1, exchange=True)
