"""The contrastive loss against loops, over several processes, and in a step of MixMatch with four views."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.types import Batch, Progress, StepResult, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.models.norms import norm_layer
from alasca_pl.steps import contrast
from alasca_pl.steps.contrast import ContrastiveLoss, nt_xent
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixmatch import MixMatchStep
from alasca_pl.steps.supervised import SupervisedStep

K = 4
NOW = Progress(epoch=14, step=145, max_epochs=100, steps_per_epoch=10)  # 4.5 epochs after a warm-up of 10
EVERY = torch.tensor([True, True])
KEPT = (1, 4, 5)


def loops(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent with one loop over anchors and one over the others."""
    rows = [row / row.square().sum().sqrt() for row in (*first, *second)]
    count, costs = len(first), []
    for number, row in enumerate(rows):
        partner = (number + count) % (2 * count)
        total = sum((row @ other / temperature).exp() for at, other in enumerate(rows) if at != number)
        costs.append(-((row @ rows[partner] / temperature).exp() / total).log())
    return torch.stack(costs).mean()


def random_projections(count: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    return tuple(torch.randn(count, 5, generator=random, dtype=torch.float64).requires_grad_() for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize(("temperature", "expected"), [(0.05, 1.629410), (0.5, 0.870714)])
def test_values_of_the_reference_sheet(temperature: float, expected: float, agreement):
    first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    agreement(nt_xent, "NT-Xent", nt_xent(first, second, EVERY, temperature), expected, atol=1e-6)
    # The length of a projection does not matter.
    agreement(nt_xent, "NT-Xent", nt_xent(3.0 * first, 0.1 * second, EVERY, temperature), expected, atol=2e-6)


def test_values_and_slopes_equal_loops_over_the_samples_that_take_part(agreement):
    first, second = random_projections()
    counted = torch.tensor([True, False, True, True, False, True, True])
    found, expected = nt_xent(first, second, counted, 0.3), loops(first[counted], second[counted], 0.3)
    agreement(nt_xent, "NT-Xent", found, expected, atol=1e-12)
    slopes = [torch.autograd.grad(loss, (first, second)) for loss in (found, expected)]
    for one, other in zip(*slopes):
        agreement(nt_xent, "slope of NT-Xent", one, other, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_one_sample_or_none_costs_nothing(count: int):
    first, second = random_projections(3)
    loss = nt_xent(first, second, torch.arange(3) < count, 0.05)
    assert loss.item() == 0.0
    assert all(not slope.any() for slope in torch.autograd.grad(loss, (first, second)))


def test_similarities_keep_their_precision_under_autocast():
    first, second = (each.float() for each in random_projections())
    counted = torch.ones(7, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        found = nt_xent(first, second, counted, 0.05)
    assert torch.equal(found, nt_xent(first, second, counted, 0.05))


def test_two_processes_equal_one(monkeypatch: pytest.MonkeyPatch):
    """The same rows in three unequal parts, one of which has nothing that counts."""
    first, second = random_projections()
    counted = torch.tensor([True, False, True, True, True, False, False])
    whole = nt_xent(first, second, counted, 0.3)
    slopes = torch.autograd.grad(whole, (first, second))
    parts = [slice(0, 3), slice(3, 5), slice(5, 7)]
    sent: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(contrast, "world_size", lambda: 3)

    def send(*rows: Tensor) -> tuple[Tensor, ...]:
        assert not any(each.requires_grad for each in rows)
        sent.append(rows)
        return torch.arange(len(rows[0])), *rows

    monkeypatch.setattr(contrast, "gather_with_places", send)
    for part in parts:
        nt_xent(first[part], second[part], counted[part], 0.3)
    everywhere = [torch.cat(each) for each in zip(*sent)]
    found = []
    for part in parts:
        place = torch.arange(7)[part]
        monkeypatch.setattr(contrast, "gather_with_places", lambda *rows, place=place: (place, *everywhere))
        loss = nt_xent(first[part], second[part], counted[part], 0.3)
        torch.testing.assert_close(loss, whole)
        found.append(torch.autograd.grad(loss, (first, second)))
    for number, slope in enumerate(slopes):
        torch.testing.assert_close(torch.stack([each[number] for each in found]).mean(dim=0), slope)


# Within a step


class Told(SampleSelector):
    """Keeps the samples at certain positions of a batch, whose labels it trusts by 0.8."""

    def __init__(self, kept: Sequence[int]) -> None:
        super().__init__()
        self.kept = kept

    def clean_probability(self, index: Tensor) -> Tensor:
        return torch.full((2, len(index)), 0.8, dtype=torch.float64)

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return torch.zeros_like(losses).index_fill_(1, torch.tensor(self.kept, dtype=torch.int64), 1.0)


@pytest.fixture
def batch(make_batch: Callable[..., Batch]) -> Batch:
    random = torch.Generator().manual_seed(5)
    plain = make_batch()
    views = tuple(torch.randn(plain.image.shape, generator=random).double() for _ in range(3))
    return plain._replace(image=plain.image.double(), views=views)


@pytest.fixture
def run(make_network: Callable[..., Network], batch: Batch) -> Callable[..., tuple[Method, StepResult]]:
    """Take a step of two networks in float64 that keep some samples; options are of the step."""

    def take(
        kept: Sequence[int] = KEPT, own: Batch = batch, now: Progress = NOW, norm: str = "group", **options: object
    ):
        step = make_step(**options)
        networks = [make_network(seed, heads=(), norm=norm) for seed in range(2)]
        for number, network in enumerate(networks):
            torch.manual_seed(10 + number)
            network.attach_extra(step.extra_heads(network.feature_size, K, norm_layer(norm)))
        method = Method(networks, [CrossEntropy(), CrossEntropy()], selector=Told(kept)).double()
        result = step(method, own, now)
        result.loss.backward()
        return method, result

    return take


def make_step(**options: object) -> MixMatchStep:
    views = ("weak", "weak", "strong", "strong")
    return MixMatchStep(K, 0, **{"views": views, "contrast": ContrastiveLoss(size=8), **options})  # type: ignore[arg-type]


def sharpened(probs: Tensor) -> Tensor:
    return probs.square() / probs.square().sum()


@torch.no_grad()
def test_a_step_of_four_views_equals_its_definition(run, batch: Batch, agreement):
    """Targets from the first two views, mixtures of the last two, contrast between these on samples that are not kept."""
    with torch.enable_grad():
        method, result = run(strength_unlabelled=20.0, ramp_epochs=9)
    left = [row for row in range(6) if row not in KEPT]
    weak, strong = [batch.image, batch.views[0]], [batch.views[1], batch.views[2]]
    probs = [[network(view).logits.softmax(dim=1) for view in weak] for network in method.networks]
    for number, network in enumerate(method.networks):
        target = []
        for row, label in enumerate(batch.label.tolist()):
            if row in KEPT:
                given = torch.eye(K, dtype=torch.float64)[label]
                target.append(sharpened(0.8 * given + 0.2 * (probs[number][0][row] + probs[number][1][row]) / 2))
            else:
                target.append(sharpened(sum(view[row] for views in probs for view in views) / 4))
        own, order = make_step().draw(NOW.step, number, 12)
        images, target, supervised, squared, seen = torch.cat(strong), target * 2, 0.0, 0.0, []
        for row, other in enumerate(order.tolist()):
            mixed = own * images[row] + (1 - own) * images[other]
            wanted = own * target[row] + (1 - own) * target[other]
            seen.append(network(mixed.unsqueeze(0)).logits.softmax(dim=1)[0])
            if row % 6 in KEPT:
                supervised -= (wanted * seen[-1].log()).sum().item() / (2 * len(KEPT))
            else:
                squared += (wanted - seen[-1]).square().mean().item() / (2 * len(left))
        mean = sum(seen) / 12
        prior = sum(math.log(1 / K / each) / K for each in mean.tolist())
        projected = [network.extra_heads[0](network(view[left]).features) for view in strong]
        apart = loops(*projected, 0.05).item()
        expected = supervised + 20.0 * 0.5 * squared + 0.025 * apart + prior
        agreement(ContrastiveLoss, "contrastive term", result.terms[f"loss_contrast/{number}"], apart, atol=1e-6)
        agreement(
            MixMatchStep, "loss with four views and contrast", result.terms[f"loss_base/{number}"], expected, atol=1e-6
        )
    total = sum(result.terms[f"loss_base/{number}"].item() for number in range(2))
    assert result.loss.item() == pytest.approx(total) == result.terms["loss"].item()


@pytest.mark.parametrize(("row", "changes"), [(KEPT[0], False), (0, True)])
def test_kept_samples_take_no_part_in_the_contrast(row: int, changes: bool, run, batch: Batch):
    last = batch.views[2].clone()
    last[row] += 1.0
    _, one = run()
    _, other = run(own=batch._replace(views=(*batch.views[:2], last)))
    same = one.terms["loss_contrast/0"].item() == other.terms["loss_contrast/0"].item()
    assert same != changes
    assert one.loss != other.loss


def test_the_warmup_is_the_supervised_step_and_reaches_every_parameter(run, batch: Batch):
    method, result = run(now=NOW._replace(epoch=3))
    assert torch.equal(result.loss, SupervisedStep()(method, batch, NOW).loss)
    heads = [parameter.grad for network in method.networks for parameter in network.extra_heads.parameters()]
    assert len(heads) == 8 and not any(gradient.any() for gradient in heads)


def test_without_strength_a_contrast_changes_no_bit_of_the_rest(run):
    method, result = run(contrast=ContrastiveLoss(strength=0.0))
    plain, expected = run(contrast=None)
    assert torch.equal(result.loss, expected.loss)
    found = dict(method.named_parameters())
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter.grad, found[name].grad), name


@pytest.mark.parametrize("kept", [(), (0, 1, 2, 3, 4), range(6)])
def test_few_samples_of_one_kind_stay_finite_with_batch_norm(kept: Sequence[int], run):
    method, result = run(kept=kept, norm="batch")
    assert result.loss.isfinite()
    assert (result.terms["loss_contrast/0"].item() > 0) == (len(kept) == 0)
    assert all(parameter.grad.isfinite().all() for parameter in method.networks.parameters())


@pytest.mark.parametrize(("name", "value"), [("strength", -1.0), ("temperature", 0.0), ("size", 0), ("size", 1.5)])
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name} must be .*{value}"):
        ContrastiveLoss(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_views_are_two_or_four(count: int):
    with pytest.raises(ValueError, match="two views or four"):
        make_step(views=["weak"] * count)
