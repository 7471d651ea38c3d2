"""Nearest neighbours: votes and scores by hand and against loops, rules, invariances, state."""

import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods import neighbours
from alasca_pl.methods.neighbours import NeighbourSelector, agreement_of, neighbour_votes, suspicion, suspicious_by_rank

POINTS = torch.tensor([[1, 0], [0.9, 0.1], [0.8, 0.3], [0.1, 1], [0, 0.8], [0.7, 0.2]])
LABEL = torch.tensor([0, 0, 1, 1, 1, 0])


def at(epoch: int) -> Progress:
    return Progress(epoch, 0, 100, 10)


def votes_by_hand(features: list[list[float]], label: list[int], classes: int, count: int) -> list[list[float]]:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    found = []
    for i, own in enumerate(features):
        near = sorted(((cosine(own, other), j) for j, other in enumerate(features) if j != i), reverse=True)[:count]
        found.append([sum(max(c, 0.0) for c, j in near if label[j] == k) for k in range(classes)])
    return found


def test_the_points_of_the_reference_sheet(agreement):
    votes = neighbour_votes(POINTS, LABEL, 2, 3)
    expected = [0.103218, 0.107445, 18.420681, 0.031908, 0.020402, 0.116331]
    agreement(suspicion, "scores", suspicion(votes, LABEL), expected, atol=2e-6)
    expected = [0.676205, 0.671313, 0, 0.795733, 0.830511, 0.661456]
    agreement(agreement_of, "fractions of votes", agreement_of(votes, LABEL), expected, atol=2e-6)
    votes = neighbour_votes(POINTS, LABEL, 2, 3, self_vote=True)
    assert torch.nn.functional.normalize(votes[2], dim=0).tolist() == pytest.approx([0.886892, 0.461976], abs=2e-6)
    expected = [0.0, 0.0, 0.772241, 0.0, 0.0, 0.111572]
    agreement(suspicion, "scores with a vote of one's own", suspicion(votes, LABEL), expected, atol=2e-6)


@pytest.mark.parametrize("chunk", [7, 2048])
def test_votes_equal_loops(chunk: int, agreement, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbours, "_CHUNK", chunk)
    features = torch.randn(25, 4, generator=generator)
    label = torch.randint(3, (25,), generator=generator)
    found = neighbour_votes(features, label, 3, 6)
    agreement(neighbour_votes, "votes", found, votes_by_hand(features.tolist(), label.tolist(), 3, 6), atol=1e-5)


def test_scale_rotation_and_order_change_nothing(generator: torch.Generator):
    features = torch.rand(20, 4, generator=generator)
    label = torch.randint(3, (20,), generator=generator)
    votes = neighbour_votes(features, label, 3, 5)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    torch.testing.assert_close(neighbour_votes(7.0 * features @ turn, label, 3, 5), votes, atol=1e-5, rtol=0.0)
    order = torch.randperm(20, generator=generator)
    torch.testing.assert_close(neighbour_votes(features[order], label[order], 3, 5), votes[order], atol=1e-6, rtol=0.0)


def test_more_neighbours_than_samples_are_all_of_them():
    assert torch.equal(neighbour_votes(POINTS, LABEL, 2, 5), neighbour_votes(POINTS, LABEL, 2, 50))


def planted(seed: int, networks: int = 1, noise: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    clean = torch.arange(120) % 3
    wrong = torch.rand(120, generator=random) < noise
    label = torch.where(wrong, (clean + 1) % 3, clean)
    features = torch.eye(3)[clean] + 0.1 * torch.randn(networks, 120, 3, generator=random)
    return features, label, wrong


@pytest.mark.parametrize("rule", ["vote", "rank", "mixture"])
def test_planted_noise_is_found(rule: str):
    features, label, wrong = planted(0, networks=2)
    selector = NeighbourSelector(120, 3, 2, warmup_epochs=0, rule=rule)  # type: ignore[arg-type]
    assert selector.confidence(label) is None
    selector.receive_scan(ScanResult(label, features=features), at(0))
    weight = selector(torch.zeros(2, 120), [], Targets.unmixed(label, torch.arange(120)), at(0))
    assert weight[:, ~wrong].mean() > 0.8
    assert weight[:, wrong].mean() < 0.3
    confidence = selector.confidence(label)
    assert confidence is not None
    assert confidence[:, ~wrong].mean() > confidence[:, wrong].mean() + 0.5


def test_ranks_equal_percentiles_of_numpy(agreement, generator: torch.Generator):
    scores, label = torch.rand(60, generator=generator), torch.randint(3, (60,), generator=generator)
    precision = torch.tensor([0.7, -0.5, 1.2])
    expected = np.zeros(60, dtype=bool)
    for number, wrong in enumerate((0.3, 0.95, 0.05)):
        members = (label == number).numpy()
        expected[members] = scores.numpy()[members] >= np.percentile(scores.numpy()[members], 100 * (1 - wrong))
    agreement(suspicious_by_rank, "suspicious labels", suspicious_by_rank(scores, label, precision), expected, atol=0.0)


def test_without_noise_clusters_agree_and_all_are_kept():
    features, label, _ = planted(1, noise=0.0)
    selector = NeighbourSelector(120, 3, 1, warmup_epochs=0)
    selector.receive_scan(ScanResult(label, features=features), at(0))
    assert selector.kept.rows.min() == 1.0
    assert selector.agreement.rows.min() > 1.0 - 1e-6


def test_the_majority_keeps_the_given_label_in_a_tie():
    """Two neighbours, equally near, one of each class."""
    features = torch.tensor([[[1.0, 0.0], [1.0, 0.5], [1.0, -0.5]]])
    selector = NeighbourSelector(3, 3, 1, warmup_epochs=0, count=2)
    selector.receive_scan(ScanResult(torch.tensor([1, 0, 1]), features=features), at(0))
    assert selector.kept.rows[0] == 1.0
    other = NeighbourSelector(3, 3, 1, warmup_epochs=0, count=2)
    other.receive_scan(ScanResult(torch.tensor([2, 0, 1]), features=features), at(0))
    assert other.kept.rows[0] == 0.0


def test_scans_are_made_after_the_warmup_and_mixed_rows_count_by_their_shares():
    features, label, _ = planted(2)
    selector = NeighbourSelector(120, 3, 1, warmup_epochs=4, every=3)
    due = [epoch for epoch in range(12) if selector.scan_request(at(epoch)) == ScanRequest(features=True)]
    assert due == [4, 7, 10]
    assert selector.kept.rows.min() == 1.0
    selector.receive_scan(ScanResult(label, features=features), at(4))
    kept = selector.kept.rows[:, 0]
    index = torch.stack([kept.argmax().view(1), kept.argmin().view(1)])
    targets = Targets(label[index], index, torch.tensor([[0.7], [0.3]]))
    assert selector(torch.zeros(1, 1), [], targets, at(4)).item() == pytest.approx(0.7)


def test_saved_and_loaded_it_is_the_same():
    features, label, _ = planted(3)
    selector, other = (NeighbourSelector(120, 3, 1, warmup_epochs=0) for _ in range(2))
    selector.receive_scan(ScanResult(label, features=features), at(0))
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.kept.rows, selector.kept.rows)
    assert torch.equal(other.confidence(label), selector.confidence(label))


def test_features_of_a_diverged_run_are_refused():
    features, label, _ = planted(0)
    features[0, 3, 2] = math.nan
    with pytest.raises(ValueError, match="before epoch 1 are not finite"):
        NeighbourSelector(120, 3, 1, warmup_epochs=0).receive_scan(ScanResult(label, features=features), at(0))


@pytest.mark.parametrize(("name", "value"), [("warmup_epochs", -1), ("every", 0), ("count", 0), ("rule", "rank2")])
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        NeighbourSelector(4, 2, 1, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"count must be .* at least 2, got 1"):
        NeighbourSelector(4, 2, 1, count=1, self_vote=True)


def test_with_an_encoder_the_training_set_is_scanned_once_and_networks_share_the_selection():
    features, label, wrong = planted(0)
    encoder = torch.nn.Linear(2, 2)
    selector = NeighbourSelector(120, 3, 2, warmup_epochs=2, encoder=encoder)
    assert [epoch for epoch in range(20) if selector.scan_request(at(epoch)) is not None] == [2]
    assert selector.scan_request(at(2)).encoder is encoder  # type: ignore[union-attr]
    assert not list(selector.parameters()) and not any("encoder" in name for name in selector.state_dict())
    selector.receive_scan(ScanResult(label, encoded=features[0]), at(2))
    assert torch.equal(selector.kept.rows[:, 0], selector.kept.rows[:, 1])
    own = NeighbourSelector(120, 3, 1, warmup_epochs=0)
    own.receive_scan(ScanResult(label, features=features), at(0))
    assert torch.equal(selector.kept.rows[:, :1], own.kept.rows)
    assert selector.kept.rows[wrong].mean() < 0.5 < selector.kept.rows[~wrong].mean()
