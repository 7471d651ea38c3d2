"""DISC: the division and its thresholds by hand, state, and a whole step against loops."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.disc import DynamicThresholds, divide
from alasca_pl.methods.gce import GeneralisedCrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep
from alasca_pl.steps.two_view import TwoViewStep

N, K = 20, 4


def at(epoch: int, step: int = 3) -> Progress:
    return Progress(epoch, step, 100, 10)


def of_labels(own: list[float], largest: list[float]) -> Tensor:
    """Probabilities with given ones for class 0, the label, and for class 1."""
    return torch.tensor([[mine, most] for mine, most in zip(own, largest)])


def test_the_example_of_the_reference_sheet(agreement):
    thresholds = torch.tensor([[0.3, 0.3], [0.3, 0.5], [0.3, 0.3], [0.6, 0.6]])
    largest = [0.6, 0.5, 0.9, 0.99]
    weak, strong = of_labels([0.5, 0.4, 0.1, 0.2], largest), of_labels([0.4, 0.4, 0.2, 0.1], largest)
    found = divide(weak, strong, thresholds, torch.zeros(4, dtype=torch.int64))
    rows = [each.long().tolist() for each in found]
    assert rows == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    selector = DynamicThresholds(4, 2, 1)
    selector.thresholds.fill(thresholds)
    selector.record(weak.unsqueeze(0), strong.unsqueeze(0), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    selector.begin(1)
    expected = [0.303, 0.302, 0.306, 0.6039]
    agreement(DynamicThresholds, "thresholds", selector.thresholds.rows[:, 0], expected, atol=1e-6)
    assert selector.groups.rows[:, 0].tolist() == [1, 2, 3, 0]


def test_a_division_equals_loops(agreement, generator: torch.Generator):
    weak, strong = (torch.randn(60, 3, generator=generator).mul(4).softmax(dim=1) for _ in range(2))
    thresholds, label = 0.6 * torch.rand(60, 2, generator=generator), torch.randint(3, (60,), generator=generator)
    found = divide(weak, strong, thresholds, label)
    expected = []
    for p, q, (a, b), y in zip(weak.tolist(), strong.tolist(), thresholds.tolist(), label.tolist()):
        above = (p[y] > a) + (q[y] > b)
        mean = [(one + other) / 2 for one, other in zip(p, q)]
        purified = above == 0 and max(mean) > min((a + b) / 2 + 0.5, 0.99)
        expected.append([above == 2, above == 1, purified, mean.index(max(mean)) if purified else y])
    assert [sum(int(row[k]) for row in expected) > 3 for k in range(3)] == [True] * 3
    agreement(divide, "groups and labels", torch.stack([each.long() for each in found], dim=1), expected, atol=0.0)
    assert not (found.clean & found.hard | found.clean & found.purified | found.hard & found.purified).any()


def test_limits_of_a_division(generator: torch.Generator):
    weak, strong = (torch.randn(40, 3, generator=generator).softmax(dim=1) for _ in range(2))
    label = torch.randint(3, (40,), generator=generator)
    assert divide(weak, strong, torch.zeros(40, 2), label).clean.all()
    none = divide(weak, strong, torch.ones(40, 2), label)
    assert not (none.clean | none.hard).any()
    assert not divide(weak, weak, torch.rand(40, 1, generator=generator).expand(40, 2), label).hard.any()


def test_until_the_first_epoch_has_ended_all_are_clean_and_momentum_0_keeps_the_last_maximum(
    generator: torch.Generator,
):
    selector = DynamicThresholds(N, K, 2, momentum=0.0)
    index, label = torch.arange(N), torch.randint(K, (N,), generator=generator)
    probs = [torch.randn(2, N, K, generator=generator).softmax(dim=2) for _ in range(2)]
    selector.begin(0)
    selector.record(*probs, label, index)
    first = selector.division(label, index)
    assert first.clean.all() and torch.equal(first.label, label.expand(2, N))
    assert selector.confidence(label) is None
    selector.begin(1)
    largest = torch.stack(probs, dim=1).amax(dim=3).permute(2, 0, 1).flatten(1)
    assert torch.equal(selector.thresholds.rows, largest)
    # Called again it does nothing.
    before = selector.groups.rows.clone()
    selector.begin(1)
    assert torch.equal(selector.groups.rows, before)
    confidence = selector.confidence(label)
    assert confidence is not None
    assert confidence.shape == (2, N)


def test_saved_and_loaded_within_an_epoch_it_divides_the_same(generator: torch.Generator):
    one, other = DynamicThresholds(N, K, 1, momentum=0.5), DynamicThresholds(N, K, 1, momentum=0.5)
    index, label = torch.arange(N), torch.randint(K, (N,), generator=generator)
    for epoch in range(2):
        one.begin(epoch)
        one.record(*torch.randn(2, 1, N, K, generator=generator).softmax(dim=3), label, index)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for selector in (one, other):
        selector.begin(1)
        selector.begin(2)
    assert torch.equal(one.groups.rows, other.groups.rows)
    assert torch.equal(one.thresholds.rows, other.thresholds.rows)


@pytest.fixture
def parts(make_network: Callable[..., Network], make_batch: Callable[..., Batch]) -> tuple[Method, Batch]:
    """A method whose selector has divided 12 samples into all groups, and their batch with a second view, in float64."""
    batch = make_batch(size=12)
    view = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(5))
    batch = batch._replace(image=batch.image.double(), views=(view.double(),))
    selector = DynamicThresholds(N, K, 1)
    method = Method([make_network(0, heads=(), norm="group")], [CrossEntropy()], selector=selector).double()
    groups = torch.zeros(N, 2)
    groups[batch.index, 0] = torch.tensor([1.0, 1, 2, 0, 3, 1, 2, 3, 0, 0, 1, 2])
    groups[batch.index, 1] = batch.label.float()
    groups[batch.index[[4, 7]], 1] = torch.tensor([3.0, 0.0])
    selector.groups.fill(groups)
    selector.is_divided, selector.epoch = True, 30
    return method, batch


def test_a_step_equals_its_definition(parts: tuple[Method, Batch], monkeypatch: pytest.MonkeyPatch, agreement):
    method, batch = parts
    step = TwoViewStep(GeneralisedCrossEntropy(), seed=0, strength_hard=0.3)
    order = [5, 3, 11, 0, 7, 1, 2, 10, 4, 6, 8, 9]
    monkeypatch.setattr(step, "draw", lambda *_: (0.8, torch.tensor(order)))
    result = step(method, batch, at(30))
    groups = [int(each) for each in method.selector.groups.rows[batch.index, 0]]  # type: ignore[union-attr]
    used = [int(each) for each in method.selector.groups.rows[batch.index, 1]]  # type: ignore[union-attr]
    mixed_rows = [row for row in range(12) if groups[row]]
    partner = dict(zip(mixed_rows, [row for row in order if groups[row]]))
    network, total = method.networks[0], 0.0
    for image in (batch.image, batch.views[0]):
        probs = network(image).logits.softmax(dim=1).tolist()
        for row, label in enumerate(batch.label.tolist()):
            if groups[row] == 1:
                total -= torch.tensor(probs[row][label]).log().item() / 12
            if groups[row] == 2:
                total += 0.3 * (1 - max(probs[row][label], 1e-4) ** 0.7) / 0.7 / 12
        for row in mixed_rows:
            mixture = 0.8 * image[row] + 0.2 * image[partner[row]]
            log_probs = network(mixture.unsqueeze(0)).logits.log_softmax(dim=1)[0]
            total -= (0.8 * log_probs[used[row]] + 0.2 * log_probs[used[partner[row]]]).item() / len(mixed_rows)
    agreement(TwoViewStep, "loss of a step", result.loss, total, atol=1e-6)
    assert result.weight[0].tolist() == [float(group in (1, 2)) for group in groups]


def test_the_warmup_is_cross_entropy_of_both_views(parts: tuple[Method, Batch]):
    method, batch = parts
    found = TwoViewStep(GeneralisedCrossEntropy(), seed=0, warmup_epochs=40)(method, batch, at(30)).loss
    plain = Method(list(method.networks), [CrossEntropy()])  # type: ignore[arg-type]
    both = [
        SupervisedStep()(plain, batch._replace(image=image), at(30)).loss for image in (batch.image, batch.views[0])
    ]
    torch.testing.assert_close(found, both[0] + both[1])


def test_what_does_not_fit_is_refused(parts: tuple[Method, Batch]):
    method, batch = parts
    step = TwoViewStep(GeneralisedCrossEntropy(), seed=0)
    with pytest.raises(ValueError, match="needs a second view"):
        step(method, batch._replace(views=()), at(30))
    method.selector = None
    with pytest.raises(ValueError, match="TwoViewStep needs a selector with division, got none"):
        step(method, batch, at(30))
    for name, value in (("warmup_epochs", -1), ("strength_hard", -0.5), ("alpha", 0.0), ("views", "weak")):
        with pytest.raises(ValueError, match=f"{name} must .*{value}"):
            TwoViewStep(GeneralisedCrossEntropy(), 0, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="momentum must lie"):
        DynamicThresholds(N, K, 1, momentum=1.0)


def test_a_mixed_row_counts_where_its_labels_are_used():
    selector = DynamicThresholds(3, 2, 1)
    selector.groups.fill(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]]))
    targets = Targets(
        torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0.7, 0.7], [0.3, 0.3]])
    )
    assert selector(torch.zeros(1, 2), [], targets, at(0))[0].tolist() == pytest.approx([0.7, 0.3])
