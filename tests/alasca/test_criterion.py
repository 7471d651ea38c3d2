"""Label smoothing on the main head, uniform and adaptive."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.alasca.criterion import AdaptiveLabelSmoothing, UniformLabelSmoothing
from alasca_pl.core.types import Progress, Targets

MakeProgress = Callable[..., Progress]


@pytest.fixture
def logits(generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.randn(5, 4, generator=generator)


@pytest.fixture
def targets() -> Targets:
    return Targets.unmixed(torch.tensor([0, 3, 1, 2, 2]), torch.tensor([7, 0, 3, 9, 1]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_uniform_is_torchs_label_smoothing(
    smoothing: float, agreement, logits: torch.Tensor, targets: Targets, make_progress: MakeProgress
):
    logits = logits.double()
    loss = UniformLabelSmoothing(smoothing)(logits, targets, make_progress())
    expected = F.cross_entropy(logits, targets.label[0], reduction="none", label_smoothing=smoothing)
    agreement(UniformLabelSmoothing, "loss with its amount in float32", loss, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "expected"), [("others", 0.857606), ("uniform", 0.707606), ("paper_omega", 1.552170)]
)
def test_uniform_with_other_targets(target: str, expected: float, make_progress: MakeProgress):
    one = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))
    loss = UniformLabelSmoothing(0.3, target)(torch.tensor([[2.0, 1.0, 0.0]]), one, make_progress())
    assert loss.item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("epoch", "ramp"), [(0, 0.0), (15, 0.25), (60, 1.0), (90, 1.0)])
@pytest.mark.parametrize(("momentum", "temperature"), [(0.0, 1.0), (0.7, 1 / 3)])
def test_adaptive_equals_loops_over_samples_and_classes(
    epoch: int,
    ramp: float,
    momentum: float,
    temperature: float,
    agreement,
    logits: torch.Tensor,
    targets: Targets,
    make_progress: MakeProgress,
):
    criterion = AdaptiveLabelSmoothing(10, 4, momentum=momentum, temperature=temperature)
    criterion.observe(logits, targets.index[0])
    loss = criterion(logits.double(), targets, make_progress(epoch))
    expected = []
    for b in range(5):
        y, row = int(targets.label[0, b]), logits[b].tolist()
        powers = [math.exp((1 - momentum) * z / temperature) for z in row]
        smoothing = ramp * (1 - powers[y] / sum(powers))
        log_sum = math.log(sum(math.exp(z) for z in row))
        mass = [(1 - smoothing if k == y else 0) + smoothing / 4 for k in range(4)]
        expected.append(sum(mass[k] * (log_sum - row[k]) for k in range(4)))
    agreement(AdaptiveLabelSmoothing, "loss with its table in float32", loss, expected, atol=2e-6)


def test_adaptive_is_instantaneous_by_default(logits: torch.Tensor, targets: Targets):
    criterion = AdaptiveLabelSmoothing(10, 4)
    criterion.observe(torch.full((5, 4), 9.0) * torch.arange(4), targets.index[0])
    criterion.observe(logits, targets.index[0])
    label = torch.zeros(10, dtype=torch.long)
    label[targets.index[0]] = targets.label[0]
    expected = logits.softmax(1).gather(1, targets.label.T).squeeze(1)
    torch.testing.assert_close(criterion.confidence(label)[targets.index[0]], expected)


def test_adaptive_gradient_holds_the_smoothing_fixed(targets: Targets, generator: torch.Generator):
    logits = torch.randn(5, 4, generator=generator).requires_grad_()
    criterion = AdaptiveLabelSmoothing(10, 4, ramp_epochs=0)
    criterion.observe(logits, targets.index[0])
    criterion(logits, targets, Progress(0, 0, 1, 1)).sum().backward()
    probs = logits.detach().softmax(1)
    for b in range(5):
        y = int(targets.label[0, b])
        smoothing = 1 - probs[b, y].item()
        for k in range(4):
            mass = (1 - smoothing if k == y else 0) + smoothing / 4
            assert logits.grad[b, k].item() == pytest.approx(probs[b, k].item() - mass, abs=1e-6)


@pytest.mark.parametrize("kind", ["uniform", "adaptive"])
def test_a_mixed_row_costs_the_weighted_sum_of_its_labels(
    kind: str, logits: torch.Tensor, targets: Targets, make_progress: MakeProgress
):
    criterion = UniformLabelSmoothing(0.2) if kind == "uniform" else AdaptiveLabelSmoothing(10, 4, ramp_epochs=0)
    criterion.observe(logits, targets.index[0])
    second = Targets.unmixed(targets.label[0].flip(0), targets.index[0].flip(0))
    weight = torch.tensor([[0.9, 0.5, 0.2, 1.0, 0.0], [0.1, 0.5, 0.8, 0.0, 1.0]])
    mixed = Targets(torch.cat([targets.label, second.label]), torch.cat([targets.index, second.index]), weight)
    one, other = criterion(logits, targets, make_progress(9)), criterion(logits, second, make_progress(9))
    torch.testing.assert_close(criterion(logits, mixed, make_progress(9)), weight[0] * one + weight[1] * other)


def test_forward_twice_gives_the_same_and_leaves_the_table_alone(
    logits: torch.Tensor, targets: Targets, make_progress: MakeProgress
):
    criterion = AdaptiveLabelSmoothing(10, 4, momentum=0.7)
    criterion.observe(logits, targets.index[0])
    before = criterion.label_confidence.table.rows.clone()
    first = criterion(logits, targets, make_progress(70))
    assert torch.equal(first, criterion(logits, targets, make_progress(70)))
    assert torch.equal(before, criterion.label_confidence.table.rows)


def test_saved_and_loaded_it_costs_the_same(logits: torch.Tensor, targets: Targets, make_progress: MakeProgress):
    criterion, other = (AdaptiveLabelSmoothing(10, 4, momentum=0.7) for _ in range(2))
    criterion.observe(logits, targets.index[0])
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(criterion(logits, targets, make_progress(80)), other(logits, targets, make_progress(80)))
    assert other.label_confidence.table.rows.any()


@pytest.mark.parametrize("criterion", [UniformLabelSmoothing(), AdaptiveLabelSmoothing(3, 4)])
def test_smoothing_on_the_main_head_asks_for_no_heads(criterion):
    assert criterion.needs == frozenset()


def test_uniform_smoothing_has_no_opinion_on_labels():
    assert UniformLabelSmoothing().confidence(torch.tensor([0, 1])) is None


@pytest.mark.parametrize("smoothing", [-0.01, 1.5, math.nan])
def test_a_smoothing_outside_its_range_is_named(smoothing: float):
    with pytest.raises(ValueError, match=f"smoothing.*{smoothing}"):
        UniformLabelSmoothing(smoothing)


@pytest.mark.parametrize(
    "make",
    [lambda target: UniformLabelSmoothing(target=target), lambda target: AdaptiveLabelSmoothing(2, 3, target=target)],
)
def test_an_unknown_target_is_named(make: Callable):
    with pytest.raises(ValueError, match="'unifrom'"):
        make("unifrom")
