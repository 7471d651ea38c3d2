"""ProMix: base sets, reliable and agreed samples by hand, adjusted losses, a whole step, limits."""

import io
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.promix import ClassSmallLosses, smallest_of_class
from alasca_pl.models.network import Network
from alasca_pl.models.norms import norm_layer
from alasca_pl.steps.method import Method
from alasca_pl.steps.promix import ProMixStep, agreed_samples, reliable_samples
from alasca_pl.steps.pseudo_labels import sharpen

N, K = 20, 4
LOGITS, PRIOR = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.5, 0.3, 0.2])


def at(epoch: int, max_epochs: int = 600) -> Progress:
    return Progress(epoch, 7, max_epochs, 10)


def test_adjusted_logits_of_the_reference_sheet(agreement):
    """What the step adds to logits in losses and subtracts for labels."""
    adjusted = LOGITS + 0.8 * PRIOR.log()
    found = F.cross_entropy(adjusted.expand(3, 3), torch.arange(3), reduction="none")
    agreement(ProMixStep, "cross-entropy of adjusted logits", found, [0.269640, 1.678300, 3.002672], atol=2e-6)
    debiased = (LOGITS - 0.8 * PRIOR.log()).softmax(dim=0)
    assert debiased.tolist() == pytest.approx([0.544879, 0.301637, 0.153484], abs=1e-6)
    assert sharpen(debiased.unsqueeze(0), 0.5)[0].tolist() == pytest.approx([0.721603, 0.221140, 0.057256], abs=1e-6)


def test_averages_of_the_reference_sheet(agreement):
    selector = ClassSmallLosses(4, 3, 1)
    selector.update_averages(LOGITS.softmax(dim=0).unsqueeze(0), torch.zeros(1, 3))
    kept, others = selector.average_predictions()
    agreement(ClassSmallLosses, "average prediction", kept[0], [0.333367, 0.333324, 0.333309], atol=1e-6)
    # A mean of nothing leaves the average as it is.
    assert torch.equal(others, torch.full((1, 3), 1 / 3))
    assert kept.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("fraction", [0.3, 0.5, 1.0])
def test_base_sets_equal_sorting_within_classes(fraction: float, agreement, generator: torch.Generator):
    label = torch.cat([torch.zeros(25), torch.ones(4), torch.full((11,), 3.0)]).long()[
        torch.randperm(40, generator=generator)
    ]
    losses = torch.randint(5, (40,), generator=generator).float()
    expected = [0.0] * 40
    for number in range(4):
        members = [row for row in range(40) if label[row] == number]
        for row in sorted(members, key=lambda each: (losses[each].item(), each))[: max(1, math.ceil(fraction * 10))]:
            expected[row] = 1.0
    selector = ClassSmallLosses(40, 4, 1, warmup_epochs=0, fraction=fraction, last_fraction=fraction)
    selector.receive_scan(ScanResult(label, losses=losses.unsqueeze(0)), at(0))
    agreement(smallest_of_class, "base set", selector.kept.rows[:, 0], expected, atol=0.0)


def test_scans_are_made_after_the_warmup_with_the_fraction_of_the_epoch(generator: torch.Generator):
    selector = ClassSmallLosses(40, 4, 2, warmup_epochs=10, fraction=0.8, last_fraction=0.4, ramp_epochs=50)
    assert [selector.scan_request(at(epoch)) for epoch in (9, 10)] == [None, ScanRequest(losses=True)]
    label, losses = torch.arange(40) % 4, torch.rand(2, 40, generator=generator)
    assert bool(selector.kept.rows.all())
    for epoch, count in ((25, 24), (50, 16), (300, 16)):
        selector.receive_scan(ScanResult(label, losses=losses), at(epoch))
        assert selector.kept.rows.sum(dim=0).tolist() == [count, count]
    weight = selector(torch.zeros(2, 40), [], Targets.unmixed(label, torch.arange(40)), at(300))
    assert torch.equal(weight, selector.kept.rows.T)
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    other = ClassSmallLosses(40, 4, 2)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.confidence(label), selector.confidence(label))


def test_reliable_samples_equal_loops(agreement, generator: torch.Generator):
    base = torch.rand(2, 12, generator=generator) < 0.3
    probs, debiased = (
        (2.0 * torch.randn(2, 12, 3, generator=generator)).softmax(dim=2),
        torch.rand(2, 12, 3, generator=generator),
    )
    label = torch.randint(3, (12,), generator=generator)
    found = reliable_samples(base, probs, debiased, label, 0.6)
    for m in range(2):
        expected = []
        for b, y in enumerate(label.tolist()):
            reliable = bool(base[m, b]) or probs[m, b, y].item() > 0.6
            row = debiased[m, b].tolist()
            expected.append([reliable, y if reliable else row.index(max(row))])
        agreement(
            reliable_samples, "mask and label", torch.stack([found.mask[m], found.label[m]], dim=1), expected, atol=0
        )
    assert torch.equal(reliable_samples(base, probs, debiased, label, 1.0).mask, base)


def test_networks_agree_on_at_most_nine_tenths(generator: torch.Generator):
    """Ten samples of which six are reliable: of five on which both are sure the three with the highest confidence are added."""
    confident = torch.tensor([0.99, 0.95, 0.97, 0.96, 0.98, 0.2, 0.2, 0.2, 0.2, 0.2])
    probs = torch.stack([confident, (1 - confident)], dim=1).expand(2, 10, 2).clone()
    mask = torch.zeros(2, 10).bool()
    mask[0, 5:] = True
    mask[1, 4:] = True
    mask[0, 0] = True
    added = agreed_samples(mask, probs, torch.arange(10), 0.9)
    assert added[0].nonzero().flatten().tolist() == [2, 3, 4]
    assert added[1].nonzero().flatten().tolist() == [0, 2, 3]
    # They must be sure of the same class.
    probs[1] = probs[1].flip(1)
    assert not agreed_samples(mask, probs, torch.arange(10), 0.9).any()
    assert not agreed_samples(torch.ones(2, 10).bool(), probs[:1].expand(2, -1, -1), torch.arange(10), 0.9).any()


@pytest.fixture
def parts(make_network: Callable[..., Network], make_batch: Callable[..., Batch]) -> tuple[Method, Batch]:
    """One network in float64, of whose batch of 8 five are in the base set, with averages that are not uniform."""
    batch = make_batch(size=8)
    view = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(5))
    batch = batch._replace(image=batch.image.double(), views=(view.double(),))
    network = make_network(0, heads=(), norm="group")
    torch.manual_seed(3)
    network.attach_extra(ProMixStep(0).extra_heads(network.feature_size, K, norm_layer("group")))
    selector = ClassSmallLosses(N, K, 1)
    kept = torch.zeros(N, 1)
    kept[batch.index[:5]] = 1.0
    selector.kept.fill(kept)
    selector.averages.fill(torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]))
    return Method([network], [CrossEntropy()], selector=selector).double(), batch


@pytest.mark.parametrize("regions", [True, False])
def test_a_step_equals_its_definition(regions: bool, parts: tuple[Method, Batch], agreement):
    method, batch = parts
    network = method.networks[0]
    step = ProMixStep(seed=0, threshold=1.0, regions=regions, unreliable_epochs=40, keep_unreliable=True)
    kept, others = (each[0].double() for each in method.selector.average_predictions())  # type: ignore[union-attr,operator]
    result = step(method, batch, at(25))
    rise, rows = 0.5, list(range(5))

    def cost(image: Tensor, head: int, label: int) -> Tensor:
        output = network(image.unsqueeze(0))
        logits = (network.extra_heads[0](output.features) if head else output.logits)[0]
        return -(logits + 0.8 * kept.log()).log_softmax(dim=0)[label]

    total = 0.0
    labels = batch.label.tolist()
    for head in range(2):
        for row in rows:
            total += cost(batch.image[row], head, labels[row]).item() / 5
            total += rise * cost(batch.views[0][row], head, labels[row]).item() / 5
        for kind in range(1 + regions):
            own, order, mask = step.draw(7, (0, head, kind), 8, (8, 8))
            share = own if mask is None else mask.double()
            partners = [row for row in order.tolist() if row < 5]
            for row, other in zip(rows, partners):
                image = share * batch.image[row] + (1 - share) * batch.image[other]
                mixed = own * cost(image, head, labels[row]) + (1 - own) * cost(image, head, labels[other])
                total += rise * mixed.item() / 5
    for row in range(5, 8):
        guess = (network(batch.image[row : row + 1]).logits[0] - 0.8 * others.log()).softmax(dim=0) ** 2
        guess = guess / guess.sum()
        for factor, image in ((1.0, batch.image), (rise, batch.views[0])):
            logits = network.extra_heads[0](network(image[row : row + 1]).features)[0] + 0.8 * others.log()
            total -= 0.1 * 25 / 40 * factor * (guess * logits.log_softmax(dim=0)).sum().item() / 3
    agreement(ProMixStep, f"loss of a step, {'with' if regions else 'without'} regions", result.loss, total, atol=1e-5)
    assert result.weight[0].tolist() == [1.0] * 5 + [0.0] * 3
    moved = method.selector.average_predictions()[0][0].double()  # type: ignore[union-attr,operator]
    mean = network(batch.image[:5]).logits.softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(moved, 0.9999 * kept + 0.0001 * mean, atol=1e-6, rtol=0.0)


def test_the_others_train_nothing_after_their_ramp(parts: tuple[Method, Batch]):
    method, batch = parts
    losses = []
    for keep in (False, True):
        step = ProMixStep(seed=0, threshold=1.0, unreliable_epochs=20, keep_unreliable=keep)
        losses.append(step(method, batch, at(25)))
    assert losses[1].loss > losses[0].loss
    terms = losses[0].terms
    assert losses[0].loss.item() == pytest.approx(float(terms["loss_reliable"] + terms["loss_further_head"]), abs=1e-5)


def test_the_warmup_is_cross_entropy_of_weak_views_and_reaches_every_parameter(parts: tuple[Method, Batch]):
    method, batch = parts
    result = ProMixStep(seed=0)(method, batch, at(3))
    plain = F.cross_entropy(method.networks[0](batch.image).logits, batch.label)
    torch.testing.assert_close(result.loss, plain)
    result.loss.backward()
    assert all(parameter.grad is not None for parameter in method.networks[0].parameters())
    punished = ProMixStep(seed=0, warmup_penalty=1.0)(method, batch, at(3)).loss
    assert punished < plain


@pytest.mark.parametrize("everything", [True, False])
def test_a_batch_of_one_kind_only_stays_finite(everything: bool, parts: tuple[Method, Batch]):
    method, batch = parts
    method.selector.kept.fill(torch.full((N, 1), float(everything)))  # type: ignore[union-attr,operator]
    before = [each.clone() for each in method.selector.average_predictions()]  # type: ignore[union-attr,operator]
    result = ProMixStep(seed=0, threshold=1.0)(method, batch, at(25))
    result.loss.backward()
    assert result.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.networks[0].parameters())
    after = method.selector.average_predictions()  # type: ignore[union-attr,operator]
    assert [torch.equal(one, other) for one, other in zip(before, after)] == [not everything, everything]


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.5), ("alpha", 0.0), ("adjust", -1.0), ("temperature", 0.0), ("views", "weak")]
)
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        ProMixStep(0, **{name: value})  # type: ignore[arg-type]
    for other in ({"fraction": 0.0}, {"momentum": 1.0}, {"warmup_epochs": -1}):
        with pytest.raises(ValueError, match=next(iter(other))):
            ClassSmallLosses(4, 2, 1, **other)
