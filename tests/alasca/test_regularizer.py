"""Penalties on auxiliary heads, against explicit loops, and where their gradient goes."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.alasca.regularizer import AlascaRegularizer, UniformSmoothingOnHeads
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepView, Targets
from alasca_pl.models.network import Network

MakeProgress = Callable[..., Progress]


def make_view(
    progress: Progress, generator: torch.Generator, num_heads: int = 2, size: int = 4, num_classes: int = 3
) -> StepView:
    heads = tuple(torch.randn(size, num_classes, generator=generator).requires_grad_() for _ in range(num_heads))
    logits = torch.randn(size, num_classes, generator=generator).requires_grad_()
    label = torch.randint(num_classes, (size,), generator=generator)
    targets = Targets.unmixed(label, torch.randperm(10, generator=generator)[:size])
    output = NetworkOutput(logits, heads, torch.zeros(size, 2))
    return StepView(output, targets, torch.zeros(size), torch.ones(size), progress)


def in_double(view: StepView) -> StepView:
    output = view.output
    heads = tuple(each.double() for each in output.aux_logits)
    return view._replace(output=output._replace(logits=output.logits.double(), aux_logits=heads))


@pytest.mark.parametrize(("epoch", "ramp"), [(0, 0.0), (15, 0.5), (30, 1.0)])
def test_equals_loops_over_samples_heads_and_classes(
    epoch: int, ramp: float, agreement, generator: torch.Generator, make_progress: MakeProgress
):
    """Algorithm 1 written out: average of logits, sharpened softmax, ramp, smoothing over the other classes."""
    regularizer = AlascaRegularizer(10, 3)
    view = in_double(make_view(make_progress(epoch), generator))
    logits, index = view.output.logits.detach(), view.targets.index[0]
    regularizer.observe(logits, index)
    regularizer.observe(2 * logits, index)
    penalty = regularizer(view)
    expected = [0.0] * 4
    for b in range(4):
        y = int(view.targets.label[0, b])
        average = [0.7 * (0.3 * z) + 0.3 * (2 * z) for z in logits[b].tolist()]
        powers = [math.exp(3 * value) for value in average]
        smoothing = ramp * (1 - powers[y] / sum(powers))
        for head in view.output.aux_logits:
            log_sum = math.log(sum(math.exp(z) for z in head[b].tolist()))
            for k in range(3):
                mass = 1 - smoothing if k == y else smoothing / 2
                expected[b] += mass * (log_sum - head[b, k].item())
    agreement(AlascaRegularizer, "penalty with its table in float32", penalty, expected, atol=5e-6)


def test_is_cross_entropy_on_all_heads_in_the_first_epoch(generator: torch.Generator, make_progress: MakeProgress):
    view = make_view(make_progress(0), generator, num_heads=3)
    regularizer = AlascaRegularizer(10, 3)
    regularizer.observe(view.output.logits, view.targets.index[0])
    expected = sum(F.cross_entropy(head, view.targets.label[0], reduction="none") for head in view.output.aux_logits)
    torch.testing.assert_close(regularizer(view), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_uniform_smoothing_on_heads_is_torchs_label_smoothing(
    smoothing: float, agreement, generator: torch.Generator, make_progress: MakeProgress
):
    view = in_double(make_view(make_progress(50), generator))
    expected = sum(
        F.cross_entropy(head, view.targets.label[0], reduction="none", label_smoothing=smoothing)
        for head in view.output.aux_logits
    )
    penalty = UniformSmoothingOnHeads(smoothing)(view)
    agreement(UniformSmoothingOnHeads, "penalty with its amount in float32", penalty, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["alasca", "uniform"])
def test_a_mixed_row_costs_the_weighted_sum_of_its_labels(
    kind: str, generator: torch.Generator, make_progress: MakeProgress
):
    regularizer = AlascaRegularizer(10, 3, ramp_epochs=0) if kind == "alasca" else UniformSmoothingOnHeads(0.2)
    view = make_view(make_progress(5), generator)
    regularizer.observe(view.output.logits.detach(), view.targets.index[0])
    first, order = view.targets, torch.tensor([2, 0, 3, 1])
    second = Targets.unmixed(first.label[0][order], first.index[0][order])
    weight = torch.tensor([[0.9, 0.5, 0.25, 1.0], [0.1, 0.5, 0.75, 0.0]])
    mixed = Targets(torch.cat([first.label, second.label]), torch.cat([first.index, second.index]), weight)
    expected = weight[0] * regularizer(view) + weight[1] * regularizer(view._replace(targets=second))
    torch.testing.assert_close(regularizer(view._replace(targets=mixed)), expected)


@pytest.mark.parametrize("kind", ["alasca", "uniform"])
def test_selection_and_base_loss_do_not_matter(kind: str, generator: torch.Generator, make_progress: MakeProgress):
    regularizer = AlascaRegularizer(10, 3) if kind == "alasca" else UniformSmoothingOnHeads()
    view = make_view(make_progress(40), generator)
    other = view._replace(weight=torch.tensor([0.0, 0.0, 2.0, 0.0]), base_loss=torch.full((4,), 9.0))
    assert torch.equal(regularizer(view), regularizer(other))


def test_gradient_reaches_heads_and_neither_main_logits_nor_confidence(
    generator: torch.Generator, make_progress: MakeProgress
):
    view = make_view(make_progress(40), generator)
    regularizer = AlascaRegularizer(10, 3)
    regularizer.observe(view.output.logits, view.targets.index[0])
    regularizer(view).sum().backward()
    assert view.output.logits.grad is None
    assert not regularizer.label_confidence.table.rows.requires_grad
    for head in view.output.aux_logits:
        # With the smoothing held fixed, the gradient of each row is prediction minus target, which sums to zero.
        assert head.grad.abs().sum() > 0
        torch.testing.assert_close(head.grad.sum(1), torch.zeros(4), atol=1e-6, rtol=0)


def test_gradient_reaches_the_backbone_but_not_the_main_head(
    make_network: Callable[..., Network], make_batch: Callable[..., Batch], make_progress: MakeProgress
):
    network, batch = make_network(heads=(2,)), make_batch()
    output = network(batch.image)
    targets = Targets.unmixed(batch.label, batch.index)
    view = StepView(output, targets, torch.zeros(6), torch.ones(6), make_progress(3))
    AlascaRegularizer(20, 4)(view).sum().backward()
    for stage, reached in ((0, True), (1, True), (2, False)):
        gradients = [parameter.grad for parameter in network.backbone.stages[stage].parameters()]
        assert all((gradient is not None and bool(gradient.any())) == reached for gradient in gradients)
    assert network.head.weight.grad is None


def test_forward_twice_gives_the_same_and_leaves_the_table_alone(
    generator: torch.Generator, make_progress: MakeProgress
):
    view = make_view(make_progress(40), generator)
    regularizer = AlascaRegularizer(10, 3)
    regularizer.observe(view.output.logits, view.targets.index[0])
    before = regularizer.label_confidence.table.rows.clone()
    assert torch.equal(regularizer(view), regularizer(view))
    assert torch.equal(before, regularizer.label_confidence.table.rows)


def test_observes_main_logits_of_all_samples_of_the_batch(generator: torch.Generator):
    regularizer = AlascaRegularizer(6, 3)
    logits, index = torch.randn(3, 3, generator=generator), torch.tensor([4, 0, 5])
    regularizer.observe(logits, index)
    torch.testing.assert_close(regularizer.label_confidence.table.rows[index], 0.3 * logits)
    assert not regularizer.label_confidence.table.rows[[1, 2, 3]].any()


def test_trusts_labels_that_predictions_agree_with_more(generator: torch.Generator):
    clean = torch.randint(3, (30,), generator=generator)
    label = clean.clone()
    label[:10] = (label[:10] + 1) % 3
    regularizer = AlascaRegularizer(30, 3)
    for _ in range(3):
        logits = 2 * F.one_hot(clean, 3).float() + torch.randn(30, 3, generator=generator)
        regularizer.observe(logits, torch.arange(30))
    confidence = regularizer.confidence(label)
    assert confidence[10:].mean() > 0.6 > 0.2 > confidence[:10].mean()


def test_saved_and_loaded_it_costs_the_same(generator: torch.Generator, make_progress: MakeProgress):
    view = make_view(make_progress(40), generator)
    regularizer, other = AlascaRegularizer(10, 3), AlascaRegularizer(10, 3)
    regularizer.observe(view.output.logits, view.targets.index[0])
    assert not torch.equal(regularizer(view), other(view))
    other.load_state_dict(regularizer.state_dict())
    assert torch.equal(regularizer(view), other(view))


@pytest.mark.parametrize("maker", [lambda **kw: AlascaRegularizer(2, 3, **kw), UniformSmoothingOnHeads])
def test_asks_for_heads_has_the_papers_strength_and_names_bad_values(maker: Callable):
    assert maker().needs == {"aux_logits"}
    assert maker().strength == 2.0
    for strength in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"strength.*{strength}"):
            maker(strength=strength)
    with pytest.raises(ValueError, match="'elsewhere'"):
        maker(target="elsewhere")


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_a_uniform_smoothing_outside_its_range_is_named(smoothing: float):
    with pytest.raises(ValueError, match=f"smoothing.*{smoothing}"):
        UniformSmoothingOnHeads(smoothing)


def test_only_selected_samples_count_if_asked_for(generator: torch.Generator, make_progress: MakeProgress):
    """The mean over the batch becomes the mean over the selected samples, and others get no gradient."""
    view = make_view(make_progress(40), generator, size=5)
    everyone, selected = AlascaRegularizer(10, 3), AlascaRegularizer(10, 3, aux_samples="selected")
    for regularizer in (everyone, selected):
        regularizer.observe(view.output.logits, view.targets.index[0])
    # With all samples selected both are the same.
    assert torch.equal(everyone(view), selected(view))
    weight = torch.tensor([0.0, 2.0, 0.5, 0.0, 1.0])
    penalty = selected(view._replace(weight=weight))
    kept = [everyone(view)[i].item() for i in (1, 2, 4)]
    assert penalty.mean().item() == pytest.approx(sum(kept) / 3, rel=1e-6)
    (gradient,) = torch.autograd.grad(penalty.sum(), view.output.aux_logits[0])
    assert not gradient[[0, 3]].any() and gradient[[1, 2, 4]].any(dim=1).all()
    nothing = selected(view._replace(weight=torch.zeros(5)))
    assert torch.equal(nothing, torch.zeros(5))


def test_an_unknown_ac_on_lists_the_choices():
    with pytest.raises(ValueError, match=r"'some'.*all, selected"):
        AlascaRegularizer(10, 3, aux_samples="some")


def test_shared_ema_is_a_switch():
    with pytest.raises(ValueError, match="shared_ema must be true or false, got 'peer'"):
        AlascaRegularizer(10, 3, shared_ema="peer")  # type: ignore[arg-type]
