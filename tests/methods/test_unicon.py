"""UNICON's selection: divergences, threshold and parts of classes by hand, how far labels are trusted, state."""

import io
import math

import pytest
import torch
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.jensen_shannon import JensenShannon
from alasca_pl.methods.unicon import UniformSelector, divergence_threshold, label_divergence

N, K = 40, 4
NOW = Progress(epoch=12, step=60, max_epochs=100, steps_per_epoch=5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)


def kl(p: list[float], q: list[float]) -> float:
    """As in the authors' code, which keeps logarithms finite by 1e-10."""
    return sum(a * math.log((a + 1e-10) / (b + 1e-10)) for a, b in zip(p, q))


def divergence_by_hand(probs: list[float], label: int) -> float:
    given = [float(number == label) for number in range(len(probs))]
    mean = [(a + b) / 2 for a, b in zip(probs, given)]
    return kl(probs, mean) / 2 + kl(given, mean) / 2


def test_divergences_of_the_reference_sheet(agreement):
    found = label_divergence(LOGITS.softmax(dim=1).expand(3, 3), torch.arange(3))
    agreement(label_divergence, "divergence in nats", found, [0.132958, 0.384660, 0.537785], atol=1e-6)
    agreement(label_divergence, "divergence in bits", found / math.log(2), [0.191818, 0.554947, 0.775859], atol=1e-6)
    assert label_divergence(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).item() == pytest.approx(math.log(2))


def test_divergences_equal_loops_and_the_loss_of_that_name(agreement, generator: torch.Generator):
    logits = 3.0 * torch.randn(30, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(5, (30,), generator=generator)
    found = label_divergence(logits.softmax(dim=1), label)
    expected = [divergence_by_hand(row, y) for row, y in zip(logits.softmax(dim=1).tolist(), label.tolist())]
    agreement(label_divergence, "divergence", found, expected, atol=1e-8)
    loss = JensenShannon(label_weight=0.5, scaled=False)
    torch.testing.assert_close(found, loss(logits, Targets.unmixed(label, label), NOW), atol=1e-6, rtol=0.0)


def test_a_certain_label_has_no_divergence_whatever_rounding_does():
    own = torch.tensor([1.0, 1.0 - 1e-7, 1.0 + 1e-7])
    found = label_divergence(torch.stack([own, 1.0 - own], dim=1), torch.zeros(3, dtype=torch.int64))
    assert bool(((found >= 0) & (found < 1e-6)).all())


def test_the_threshold_is_the_mean_and_a_large_one_is_lowered(agreement):
    divergence = torch.tensor([0.1, 0.2, 0.6, 0.3], dtype=torch.float64)
    threshold = divergence_threshold(divergence, 0.7, 5.0)
    agreement(divergence_threshold, "threshold", threshold, 0.3, atol=1e-12)
    high = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64)
    agreement(
        divergence_threshold, "lowered threshold", divergence_threshold(high, 0.7, 5.0), 0.8 - 0.3 / 5, atol=1e-12
    )
    # In nats no mean is large enough.
    wrong = label_divergence(torch.tensor([[0.0, 1.0]]).expand(4, 2), torch.zeros(4, dtype=torch.int64))
    assert divergence_threshold(wrong, 0.7, 5.0) == wrong.mean()


def scan(label: Tensor, own: Tensor, classes: int = K) -> ScanResult:
    """Two networks whose mean probability of the given label is ``own``, and equal for the other classes."""
    shift = torch.where(own < 0.5, own, 1.0 - own) / 2
    rows = []
    for each in (own - shift, own + shift):
        probs = ((1.0 - each) / (classes - 1)).unsqueeze(1).repeat(1, classes)
        rows.append(probs.scatter(1, label.unsqueeze(1), each.unsqueeze(1)))
    return ScanResult(label, probs=torch.stack(rows))


def kept_by_hand(label: list[int], divergence: list[float], largest: float) -> list[float]:
    mean = sum(divergence) / len(divergence)
    threshold = mean - (mean - min(divergence)) / 5.0 if mean > largest else mean
    count = int(sum(each < threshold for each in divergence) / len(label) * len(label) / K)
    kept = [0.0] * len(label)
    for number in range(K):
        members = [row for row, y in enumerate(label) if y == number]
        for row in sorted(members, key=lambda each: (divergence[each], each))[:count]:
            kept[row] = 1.0
    return kept


@pytest.mark.parametrize(("unit", "scale"), [("nats", 1.0), ("bits", math.log(2))])
def test_each_class_gets_the_same_number_or_what_it_has(unit: str, scale: float, agreement, generator: torch.Generator):
    """Class 2 has 3 samples; many labels are improbable, so that in bits the threshold is lowered."""
    label = torch.cat([torch.zeros(14), torch.ones(13), torch.full((3,), 2.0), torch.full((10,), 3.0)]).long()
    label = label[torch.randperm(N, generator=generator)]
    # Equal values, too.
    own = torch.randint(1, 9, (N,), generator=generator) / 20.0
    own[own > 0.3] = 0.001
    selector = UniformSelector(N, K, 2, unit=unit)
    selector.receive_scan(scan(label, own), NOW)
    # Of the mean prediction, in single precision as the networks give it.
    divergence = (label_divergence(own.unsqueeze(1), torch.zeros(N, dtype=torch.int64)) / scale).tolist()
    expected = kept_by_hand(label.tolist(), divergence, 0.7 if unit == "bits" else 1.0)
    agreement(UniformSelector, f"selection in {unit}", selector.kept.rows[:, 0], expected, atol=0.0)
    counts = torch.bincount(label[selector.kept.rows[:, 0] > 0], minlength=K).tolist()
    assert counts[0] == counts[1] == counts[3] > counts[2] == 3
    torch.testing.assert_close(selector.divergence.rows[:, 0], torch.tensor(divergence), atol=1e-6, rtol=0.0)
    assert (sum(divergence) / N > 0.7) == (unit == "bits")


def test_samples_at_the_threshold_are_not_counted():
    """The example of the reference sheet has two of four samples below the mean; equal divergences leave none."""
    selector = UniformSelector(8, 2, 1, warmup_epochs=0)
    label = torch.arange(8) % 2
    selector.receive_scan(scan(label, torch.tensor([0.9, 0.9, 0.8, 0.8, 0.1, 0.1, 0.2, 0.2]), 2), NOW)
    assert selector.kept.rows[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    selector.receive_scan(scan(label, torch.full((8,), 0.5), 2), NOW)
    assert not selector.kept.rows.any()


def test_labels_are_trusted_by_their_divergence():
    selector = UniformSelector(N, K, 2)
    index = torch.tensor([[3, 0], [1, 2]])
    assert torch.equal(selector.clean_probability(index), torch.ones(2, 2, 2))
    own = torch.linspace(0.0, 1.0, N)
    selector.receive_scan(scan(torch.arange(N) % K, own), NOW)
    divergence = [divergence_by_hand([p, 1.0 - p], 0) for p in own.tolist()]
    expected = torch.tensor([1.0 if d < 0.5 else 1.0 - d for d in divergence])
    assert 0 < (expected < 1).sum() < N
    found = selector.clean_probability(torch.arange(N))
    torch.testing.assert_close(found, expected.expand(2, N), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(selector.clean_probability(index), expected[index].expand(2, 2, 2), atol=1e-6, rtol=0.0)


def test_scans_are_made_after_the_warmup_and_the_state_is_kept(generator: torch.Generator):
    selector = UniformSelector(N, K, 2, warmup_epochs=12)
    requests = [selector.scan_request(NOW._replace(epoch=epoch)) for epoch in (0, 11, 12, 30)]
    assert requests == [None, None, *[ScanRequest(probs=True)] * 2]
    label = torch.arange(N) % K
    result = scan(label, torch.rand(N, generator=generator))
    targets = Targets.unmixed(label, torch.arange(N))
    assert selector.confidence(label) is None
    assert torch.equal(selector(torch.zeros(2, N), [], targets, NOW), torch.ones(2, N))
    selector.receive_scan(result, NOW)
    weight = selector(torch.zeros(2, N), [], targets, NOW)
    assert torch.equal(weight, selector.kept.rows.T.expand(2, N)) and 0 < weight.sum() < 2 * N
    kept, left = weight[0].argmax(), weight[0].argmin()
    pair = torch.stack([kept, left]).unsqueeze(1)
    mixed = Targets(label[pair], pair, torch.tensor([[0.3], [0.7]]))
    assert selector(torch.zeros(2, 1), [], mixed, NOW).tolist() == [[pytest.approx(0.3)]] * 2
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other = UniformSelector(N, K, 2)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.confidence(label), selector.confidence(label))
    assert torch.equal(other.kept.rows, selector.kept.rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup_epochs", -1), ("largest", -0.1), ("divisor", 0.5), ("trusted", math.nan), ("unit", "log")],
)
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        UniformSelector(N, K, 2, **{name: value})  # type: ignore[arg-type]
