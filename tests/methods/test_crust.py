"""CRUST: gradients against autograd, greedy against brute force, weights against loops, mixing, state."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.crust import (
    CrustSelector,
    IntraClassMixer,
    coreset_weights,
    gradient_coordinates,
    lazy_greedy,
    top_row_sums,
)

CLASSES = 3


def at(epoch: int, step: int = 0) -> Progress:
    return Progress(epoch, step, 120, 10)


def distances(seed: int, count: int, size: int = 2) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, size))
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


def tied_similarity(seed: int, count: int) -> np.ndarray:
    """Small whole numbers, symmetric, so that many gains are equal and all sums are exact."""
    raw = np.random.default_rng(seed).integers(0, 4, (count, count)).astype(float)
    symmetric = np.maximum(raw, raw.T)
    np.fill_diagonal(symmetric, 4.0)
    return symmetric


def objective(similarity: np.ndarray, chosen: list[int]) -> float:
    return sum(max(similarity[i, j] for j in chosen) for i in range(len(similarity))) if chosen else 0.0


def brute_force(similarity: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """Every step looks at every candidate; the first of the best ones wins. Also the gains."""
    best = np.zeros(len(similarity))
    chosen: list[int] = []
    gains = []
    for _ in range(count):
        top, top_gain = -1, -1.0
        for j in range(len(similarity)):
            gain = float(np.maximum(similarity[j] - best, 0.0).sum())
            if j not in chosen and gain > top_gain:
                top, top_gain = j, gain
        chosen.append(top)
        gains.append(top_gain)
        best = np.maximum(best, similarity[top])
    return chosen, gains


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [1, 2, 5, 12, 20])
def test_lazy_greedy_is_brute_force_greedy(seed: int, count: int, agreement):
    distance = distances(seed, count)
    for similarity in (distance.max() - distance, tied_similarity(seed, count), np.zeros((count, count))):
        for number in range(count):
            assert lazy_greedy(similarity, number) == brute_force(similarity, number)[0]
        agreement(
            lazy_greedy, "chosen samples", lazy_greedy(similarity, count), brute_force(similarity, count)[0], atol=0.0
        )


@pytest.mark.parametrize("seed", range(5))
def test_gains_never_grow_and_sum_to_the_objective(seed: int):
    distance = distances(seed, 30)
    similarity = distance.max() - distance
    chosen = lazy_greedy(similarity, 30)
    values = [objective(similarity, chosen[:number]) for number in range(31)]
    gains = [after - before for before, after in itertools.pairwise(values)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(gains))
    assert gains == pytest.approx(brute_force(similarity, 30)[1], abs=1e-9)
    assert sorted(chosen) == list(range(30))


@pytest.mark.parametrize("seed", range(4))
def test_greedy_beats_row_sums_which_are_what_the_authors_code_takes(seed: int, agreement):
    distance = distances(seed, 60)
    similarity = distance.max() - distance
    sums = [sum(row) for row in similarity.tolist()]
    by_sum = top_row_sums(similarity, 30)
    expected = sorted(range(60), key=lambda j: -sums[j])[:30]
    agreement(top_row_sums, "chosen samples by row sums, as the authors' code", by_sum, expected, atol=0.0)
    assert objective(similarity, lazy_greedy(similarity, 30)) > 1.05 * objective(similarity, by_sum)


def test_equal_row_sums_are_taken_in_order():
    assert top_row_sums(np.ones((5, 5)), 3) == [0, 1, 2]


@pytest.mark.parametrize(("classes", "size"), [(4, 9), (6, 3)])
def test_coordinates_have_the_distances_of_autograd_s_gradients(
    classes: int, size: int, agreement, generator: torch.Generator
):
    """The second case has fewer features than classes, so that the Gram matrix of the weights is singular."""
    features = torch.randn(12, size, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(classes, size, generator=generator, dtype=torch.float64)
    label = torch.randint(classes, (12,), generator=generator)
    logits = features @ head.T
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label, reduction="sum"), features)
    coordinates = gradient_coordinates(F.softmax(logits.detach(), dim=1), label, head)
    rows = gradient.tolist()
    expected = [[math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other))) for other in rows] for one in rows]
    found = (coordinates[:, None] - coordinates[None]).norm(dim=2)
    agreement(gradient_coordinates, "distances of gradients", found, expected, atol=1e-7)


@pytest.mark.parametrize("greedy", ["lazy", "top_rowsum"])
def test_a_medoid_counts_as_many_samples_as_are_nearer_than_the_radius(greedy):
    # Distances on a line: 0, 1, 3, 3 and 7; exactly the radius is not nearer.
    points = [0.0, 1.0, 3.0, 3.0, 7.0]
    distance = np.array([[abs(a - b) for b in points] for a in points])
    weight, central = coreset_weights(distance, 5, radius=2.0, greedy=greedy)
    assert weight.tolist() == [2.0, 2.0, 2.0, 2.0, 1.0]
    # Summed distances of the five: 14, 11, 9, 9 and 21; the largest single one is 7.
    assert central.tolist() == pytest.approx([1 - total / (5 * 7) for total in (14, 11, 9, 9, 21)])


def result_for(seed: int, count: int = 40, networks: int = 1) -> ScanResult:
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (count,), generator=random)
    probs = F.softmax(2 * torch.randn(networks, count, CLASSES, generator=random), dim=2)
    return ScanResult(label, probs=probs, head_weight=torch.randn(networks, CLASSES, 5, generator=random))


def table_by_hand(result: ScanResult, network: int, fraction: float, radius: float, scale: float = 1.0) -> list[float]:
    """Weights of all samples, by loops over classes and samples with gradients in all their dimensions."""
    assert result.probs is not None and result.head_weight is not None
    weight = [0.0] * len(result.label)
    for k in range(CLASSES):
        members = [i for i in range(len(result.label)) if result.label[i] == k]
        gradients = []
        for i in members:
            residual = result.probs[network, i].double().numpy() - np.eye(CLASSES)[k]
            gradients.append(scale * (result.head_weight[network].double().numpy().T @ residual))
        distance = np.array([[np.linalg.norm(a - b) for b in gradients] for a in gradients])
        similarity = distance.max() - distance
        for j in brute_force(similarity, int(fraction * len(members)))[0]:
            weight[members[j]] = float(sum(d < radius for d in distance[j]))
    return weight


def weights(selector: CrustSelector, targets: Targets, networks: int = 1) -> Tensor:
    return selector(torch.zeros(networks, targets.label.shape[1]), [], targets, at(9))


def everything(result: ScanResult) -> Targets:
    return Targets.unmixed(result.label, torch.arange(len(result.label)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fraction", "radius"), [(0.5, 2.0), (0.3, 0.7), (1.0, 1.0)])
def test_the_table_equals_loops_over_classes_and_samples(seed: int, fraction: float, radius: float, agreement):
    result = result_for(seed, networks=2)
    selector = CrustSelector(40, CLASSES, 2, fraction=fraction, radius=radius)
    selector.receive_scan(result, at(5))
    weight = weights(selector, everything(result), 2)
    expected = [table_by_hand(result, m, fraction, radius) for m in range(2)]
    agreement(CrustSelector, "weights of the coreset", weight, expected, atol=0.0)


def test_gradients_of_the_batch_mean_are_smaller_and_reach_the_weights_only():
    result = result_for(1)
    own, mean = (
        CrustSelector(40, CLASSES, gradient_scale=scale, batch_size=64)  # type: ignore[arg-type]
        for scale in ("sample", "batch")
    )
    for selector in (own, mean):
        selector.receive_scan(result, at(5))
    one, other = (weights(selector, everything(result))[0] for selector in (own, mean))
    assert torch.equal(one > 0, other > 0)
    assert other.tolist() == table_by_hand(result, 0, 0.5, 2.0, scale=1 / 64)
    # All distances are below the radius now, so each medoid stands for its class.
    sizes = torch.bincount(result.label)
    assert all(weight == sizes[k] for weight, k in zip(other.tolist(), result.label) if weight > 0)


def test_the_whole_class_can_be_chosen():
    result = result_for(2)
    selector = CrustSelector(40, CLASSES, fraction=1.0)
    selector.receive_scan(result, at(5))
    assert (weights(selector, everything(result)) >= 1).all()


def test_a_class_of_one_sample_is_kept_and_one_of_none_does_no_harm():
    probs = torch.full((1, 3, CLASSES), 1 / CLASSES)
    result = ScanResult(torch.tensor([0, 0, 2]), probs=probs, head_weight=torch.ones(1, CLASSES, 4))
    selector = CrustSelector(3, CLASSES)
    selector.receive_scan(result, at(5))
    # The two alike stand for each other.
    assert weights(selector, everything(result)).tolist() == [[2.0, 0.0, 1.0]]


def test_nearly_all_of_a_clean_cluster_is_stood_for_by_weight():
    """Wrong samples have gradients of their own, far from those of the many: they get little weight."""
    random = torch.Generator().manual_seed(0)
    wrong = torch.arange(200) % 5 == 0
    logits = 0.5 * torch.randn(200, CLASSES, generator=random)
    predicted = torch.where(wrong, torch.randint(1, CLASSES, (200,), generator=random), torch.zeros(200).long())
    logits[torch.arange(200), predicted] += 5.0
    head = torch.randn(1, CLASSES, 8, generator=random)
    result = ScanResult(torch.zeros(200).long(), probs=F.softmax(logits, dim=1)[None], head_weight=head)
    selector = CrustSelector(200, CLASSES, radius=1.0)
    selector.receive_scan(result, at(5))
    weight = weights(selector, everything(result))[0]
    assert weight[wrong].sum() / weight.sum() < 0.1


@pytest.mark.parametrize(
    ("values", "epochs"),
    [({}, list(range(5, 12))), ({"warmup_epochs": 2, "every": 4}, [2, 6, 10]), ({"warmup_epochs": 0}, list(range(12)))],
)
def test_when_a_pass_is_wanted(values: dict[str, int], epochs: list[int]):
    selector = CrustSelector(4, 2, **values)  # type: ignore[arg-type]
    assert [epoch for epoch in range(12) if selector.scan_request(at(epoch)) == ScanRequest(probs=True)] == epochs


def test_before_the_first_choice_everything_counts():
    result = result_for(0)
    selector = CrustSelector(40, CLASSES, 1)
    assert selector.scan_request(at(4)) is None
    assert torch.equal(weights(selector, everything(result)), torch.ones(1, 40))


def test_a_mixed_row_counts_like_its_own_sample():
    result = result_for(0)
    selector = CrustSelector(40, CLASSES)
    selector.receive_scan(result, at(5))
    own, partner = torch.arange(40), torch.arange(40).roll(7)
    targets = Targets(
        result.label.expand(2, -1), torch.stack([own, partner]), torch.tensor([[0.6], [0.4]]).expand(2, 40)
    )
    assert torch.equal(weights(selector, targets), weights(selector, everything(result)))


def test_the_mean_is_over_the_weights_of_the_selected():
    assert CrustSelector(4, 2).normalise == "selected"


def test_saved_and_loaded_it_has_the_same_weights():
    result = result_for(0, networks=2)
    selector, other = CrustSelector(40, CLASSES, 2), CrustSelector(40, CLASSES, 2)
    selector.receive_scan(result, at(5))
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    first = weights(other, everything(result), 2)
    assert torch.equal(first, weights(selector, everything(result), 2))
    assert torch.equal(first, weights(other, everything(result), 2))
    assert int((first > 0).sum()) < 80


def test_predictions_of_a_diverged_run_are_refused():
    result = result_for(0)
    assert result.probs is not None
    result.probs[0, 1, 2] = math.nan
    with pytest.raises(ValueError, match="before epoch 6 are not finite"):
        CrustSelector(40, CLASSES).receive_scan(result, at(5))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fraction", 0.0),
        ("fraction", 1.1),
        ("radius", 0.0),
        ("radius", math.nan),
        ("warmup_epochs", -1),
        ("every", 0),
        ("gradient_scale", "mean"),
        ("greedy", "eager"),
    ],
)
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        CrustSelector(4, 2, **{name: value})  # type: ignore[arg-type]


def test_the_batch_size_is_asked_for_where_it_is_needed():
    with pytest.raises(ValueError, match="batch_size=None"):
        CrustSelector(4, 2, gradient_scale="batch")


def batch_with_partners(generator: torch.Generator) -> Batch:
    image, other = torch.randn(2, 5, 1, 3, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([0, 1, 2, 1, 0])
    return Batch(image, label, torch.tensor([4, 9, 2, 7, 0]), (), torch.tensor([1, 7, 3, 9, 4]), other)


def test_images_are_mixed_with_their_partners_and_labels_stay(agreement, generator: torch.Generator):
    mixer, batch = IntraClassMixer(seed=3), batch_with_partners(generator)
    assert mixer.partners == "same_label"
    image, targets = mixer(batch, at(6, step=60))
    share = mixer.own_fraction(60)
    assert 0.0 <= share <= 1.0
    assert batch.partner is not None and batch.partner_image is not None
    pixels = zip(batch.image.flatten().tolist(), batch.partner_image.flatten().tolist())
    expected = [share * own + (1 - share) * other for own, other in pixels]
    agreement(IntraClassMixer, "mixed images", image.flatten(), expected, atol=1e-15)
    for b in range(5):
        assert targets.label[:, b].tolist() == [int(batch.label[b])] * 2
        assert targets.index[:, b].tolist() == [int(batch.index[b]), int(batch.partner[b])]
        assert targets.weight[:, b].tolist() == pytest.approx([share, 1 - share], abs=1e-7)
    torch.testing.assert_close(targets.weight.sum(dim=0), torch.ones(5))


def test_before_its_first_epoch_nothing_is_mixed(generator: torch.Generator):
    batch = batch_with_partners(generator)
    for given in (batch, batch._replace(partner=None, partner_image=None)):
        image, targets = IntraClassMixer(start_epoch=6)(given, at(5))
        assert torch.equal(image, batch.image)
        assert targets.index.tolist() == [batch.index.tolist()]
        assert targets.weight.tolist() == [[1.0] * 5]


def test_the_weight_one_is_no_mixing(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch):
    mixer, batch = IntraClassMixer(), batch_with_partners(generator)
    monkeypatch.setattr(mixer, "own_fraction", lambda step: 1.0)
    image, targets = mixer(batch, at(6))
    assert torch.equal(image, batch.image)
    assert targets.weight.tolist() == [[1.0] * 5, [0.0] * 5]


def test_draws_follow_seed_and_step_alone_and_have_the_law_of_beta():
    one, again, other = IntraClassMixer(seed=1), IntraClassMixer(seed=1), IntraClassMixer(seed=2)
    draws = [one.own_fraction(step) for step in range(2000)]
    assert draws[:50] == [again.own_fraction(step) for step in range(50)]
    assert draws[:50] != [other.own_fraction(step) for step in range(50)]
    # Beta(1, b) is below x with the chance 1 - (1 - x)^b; its mean is 1 / (1 + b).
    assert sum(draws) / 2000 == pytest.approx(1 / 1.1, abs=0.02)
    for x in (0.5, 0.9, 0.999):
        assert sum(draw < x for draw in draws) / 2000 == pytest.approx(1 - (1 - x) ** 0.1, abs=0.04)


def test_a_loader_without_partners_is_named(generator: torch.Generator):
    batch = batch_with_partners(generator)._replace(partner=None)
    with pytest.raises(ValueError, match=r"partner=None.*mixer=null"):
        IntraClassMixer()(batch, at(6))


@pytest.mark.parametrize(("name", "value"), [("start_epoch", -1), ("alpha", 0.0), ("beta", -0.5)])
def test_a_value_of_the_mixer_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        IntraClassMixer(**{name: value})  # type: ignore[arg-type]


def test_its_opinion_of_a_label_is_how_central_the_sample_is_in_its_class():
    result = result_for(4, networks=2)
    selector = CrustSelector(40, CLASSES, 2)
    assert selector.confidence(result.label) is None
    selector.receive_scan(result, at(5))
    says = selector.confidence(result.label)
    assert says is not None and says.shape == (2, 40)
    assert result.probs is not None and result.head_weight is not None
    for m in range(2):
        residual = result.probs[m].double() - F.one_hot(result.label, CLASSES)
        gradient = residual @ result.head_weight[m].double()
        for i in range(40):
            members = [j for j in range(40) if result.label[j] == result.label[i]]
            far = {j: [float((gradient[j] - gradient[k]).norm()) for k in members] for j in members}
            largest = max(max(row) for row in far.values())
            assert float(says[m, i]) == pytest.approx(1 - sum(far[i]) / len(members) / largest, abs=1e-5)


def test_a_class_without_distances_is_all_central():
    weight, central = coreset_weights(np.zeros((3, 3)), 2, radius=1.0)
    assert sorted(weight.tolist()) == [0.0, 3.0, 3.0]
    assert central.tolist() == [1.0, 1.0, 1.0]
