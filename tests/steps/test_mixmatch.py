"""A step of MixMatch against plain loops, its limits, and the switches that must change nothing when off."""

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alasca_pl.alasca.regularizer import AlascaRegularizer
from alasca_pl.core.parts import Regularizer, SampleSelector
from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.steps import mixmatch
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixmatch import MixMatchStep, semi_supervised_ramp
from alasca_pl.steps.pseudo_labels import co_guess, co_refine, sharpen
from alasca_pl.steps.supervised import SupervisedStep

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]
N, K = 20, 4
NOW = Progress(epoch=14, step=145, max_epochs=100, steps_per_epoch=10)  # 4.5 epochs after a warm-up of 10


class Told(SampleSelector):
    """Gives each network the clean probabilities that it was made with, and keeps what is above one half."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = clean

    def clean_probability(self, index: Tensor) -> Tensor:
        return self.clean[:, : len(index)]

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return (self.clean[:, : losses.shape[1]] > 0.5).to(losses.dtype)


class Linear(nn.Module):
    """A network of one layer in float64, so that plain loops can follow."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3).double()
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(3, 5, generator=random))
            self.head.bias.copy_(torch.randn(3, generator=random))

    def forward(self, image: Tensor) -> NetworkOutput:
        features = image.flatten(1)
        return NetworkOutput(self.head(features), (), features)


def fixed(step: MixMatchStep, monkeypatch: pytest.MonkeyPatch, own: float, order: Sequence[int]) -> None:
    monkeypatch.setattr(step, "draw", lambda *_: (own, torch.tensor(order)))


def with_view(batch: Batch, seed: int = 99) -> Batch:
    view = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(seed))
    return batch._replace(views=(view.to(batch.image.dtype),))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one and one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


# A whole step by hand


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def predict_by_hand(weight: np.ndarray, bias: np.ndarray, image: list[float]) -> list[float]:
    return softmax([sum(w * x for w, x in zip(row, image)) + b for row, b in zip(weight.tolist(), bias.tolist())])


def sharpen_by_hand(probs: list[float], temperature: float) -> list[float]:
    powers = [p ** (1 / temperature) for p in probs]
    return [power / sum(powers) for power in powers]


def targets_by_hand(networks, views, labels, clean, number, temperature):
    """Per sample the target of one network, from both networks' predictions for both views."""
    targets = []
    for b, label in enumerate(labels):
        probs = [[predict_by_hand(*network, view[b]) for view in views] for network in networks]
        if clean[number][b] > 0.5:
            mean = [(p + q) / 2 for p, q in zip(*probs[number])]
            w = clean[number][b]
            mean = [w * (k == label) + (1 - w) * p for k, p in enumerate(mean)]
        else:
            everyone = [view for of_network in probs for view in of_network]
            mean = [sum(column) / 4 for column in zip(*everyone)]
        targets.append(sharpen_by_hand(mean, temperature))
    return targets


def loss_by_hand(network, views, targets, labelled, own, order, factor, only_labelled=False):
    images = [*views[0], *views[1]]
    targets, labelled = targets * 2, labelled * 2
    supervised, squared, seen = [], [], []
    for row, image in enumerate(images):
        if only_labelled and not labelled[row]:
            continue
        other = order[row]
        mixed = [own * x + (1 - own) * y for x, y in zip(image, images[other])]
        target = [own * x + (1 - own) * y for x, y in zip(targets[row], targets[other])]
        probs = predict_by_hand(*network, mixed)
        seen.append(probs)
        if labelled[row]:
            supervised.append(-sum(t * math.log(p) for t, p in zip(target, probs)))
        else:
            squared.append(sum((p - t) ** 2 for t, p in zip(target, probs)) / len(probs))
    mean = [sum(column) / len(seen) for column in zip(*seen)]
    terms = {
        "labelled": sum(supervised) / len(supervised) if supervised else 0.0,
        "unlabelled": sum(squared) / len(squared) if squared else 0.0,
        "prior": sum(1 / 3 * math.log(1 / 3 / m) for m in mean),
    }
    return terms, terms["labelled"] + factor * terms["unlabelled"] + terms["prior"]


@pytest.mark.parametrize("mix", ["all", "labelled"])
def test_a_step_equals_loops_over_samples_classes_views_and_networks(
    mix: str, agreement, monkeypatch: pytest.MonkeyPatch
):
    random = torch.Generator().manual_seed(3)
    views = [torch.randn(4, 1, 1, 5, generator=random, dtype=torch.float64) for _ in range(2)]
    labels, own, order = [0, 2, 1, 1], 0.7, [5, 3, 0, 1, 7, 2, 6, 4]
    clean = [[0.9, 0.2, 0.6, 0.4], [0.1, 0.55, 0.3, 0.0]]
    batch = Batch(views[0], torch.tensor(labels), torch.arange(4), (views[1],))
    networks = [Linear(0), Linear(1)]
    selector = Told(torch.tensor(clean, dtype=torch.float64))
    step = MixMatchStep(3, 0, temperature=0.5, strength_unlabelled=20.0, ramp_epochs=9, mix=mix)
    fixed(step, monkeypatch, own, order)
    result = step(Method(networks, [CrossEntropy(), CrossEntropy()], selector=selector), batch, NOW)
    result.loss.backward()

    flat = [view.flatten(1).tolist() for view in views]
    arrays = [(n.head.weight.detach().numpy().copy(), n.head.bias.detach().numpy().copy()) for n in networks]
    factor, total = 20.0 * 4.5 / 9, 0.0
    for number in range(2):
        targets = targets_by_hand(arrays, flat, labels, clean, number, 0.5)
        labelled = [w > 0.5 for w in clean[number]]

        def loss(weight, bias, targets=targets, labelled=labelled):
            return loss_by_hand((weight, bias), flat, targets, labelled, own, order, factor, mix == "labelled")

        terms, expected = loss(*arrays[number])
        total += expected
        for name, value in terms.items():
            agreement(MixMatchStep, f"{name} term", result.terms[f"loss_{name}/{number}"], value, atol=1e-12)
        agreement(MixMatchStep, "loss", result.terms[f"loss_base/{number}"], expected, atol=1e-12)
        # The targets carry no gradient: they stay fixed while the weights move.
        weight, bias = arrays[number]
        for k, d in np.ndindex(3, 5):
            moved = [weight.copy(), weight.copy()]
            moved[0][k, d] += 1e-5
            moved[1][k, d] -= 1e-5
            slope = (loss(moved[0], bias)[1] - loss(moved[1], bias)[1]) / 2e-5
            assert networks[number].head.weight.grad[k, d].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)
        given = [-math.log(predict_by_hand(*arrays[number], x)[y]) for x, y in zip(flat[0], labels)]
        assert result.losses[number].tolist() == pytest.approx(given, rel=1e-9)
        assert result.weight[number].tolist() == [float(flag) for flag in labelled]
        assert result.terms[f"selected/{number}"].item() == sum(labelled) / 4
        torch.testing.assert_close(result.logits[number], networks[number](views[0]).logits.detach())
    assert result.loss.item() == pytest.approx(total, rel=1e-9)
    assert not any(value.requires_grad for value in (*result.terms.values(), *result.logits, result.losses))


# Formulas


@pytest.mark.parametrize(
    ("epochs_after", "expected"), [(-3.0, 0.0), (0.0, 0.0), (8.0, 0.5), (8.5, 8.5 / 16), (16.0, 1.0), (40.0, 1.0)]
)
def test_the_ramp_rises_for_sixteen_epochs_after_the_warmup(epochs_after: float, expected: float, agreement):
    step = round((30 + epochs_after) * 10)
    progress = Progress(epoch=step // 10, step=step, max_epochs=300, steps_per_epoch=10)
    agreement(semi_supervised_ramp, "ramp", semi_supervised_ramp(progress, 30, 16), expected, atol=1e-14)


def test_a_ramp_without_length_is_at_its_end():
    assert semi_supervised_ramp(NOW, 14, 0) == 1.0


def test_sharpening_equals_powers_and_a_temperature_of_one_changes_nothing(agreement):
    probs = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(sharpen(probs, 1.0), probs)
    expected = [[0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38], [1.0, 0.0, 0.0]]
    agreement(sharpen, "sharpened predictions", sharpen(probs, 0.5), expected, atol=1e-14)


def test_sharpening_small_numbers_by_a_large_power_keeps_a_distribution():
    row = sharpen(torch.tensor([[0.0011, *[0.9989 / 999] * 999]]), 0.01)
    assert row.sum().item() == pytest.approx(1.0, abs=1e-4) and row.argmax().item() == 0


def test_a_certain_label_stays_and_an_impossible_one_gives_way():
    onehot, probs = torch.eye(3)[:2], torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert torch.equal(co_refine(onehot, torch.ones(2), probs), onehot)
    assert torch.equal(co_refine(onehot, torch.zeros(2), probs), probs)
    torch.testing.assert_close(co_refine(onehot, torch.tensor([0.5, 0.0]), probs)[0], torch.tensor([0.6, 0.25, 0.15]))


def test_a_guess_is_the_mean_of_all_predictions():
    probs = [
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0.5, 0.5]]),
        torch.tensor([[0.9, 0.1]]),
    ]
    torch.testing.assert_close(co_guess(probs), torch.tensor([[0.6, 0.4]]))


# Draws


def test_draws_are_functions_of_seed_step_and_network():
    step = MixMatchStep(K, seed=5)
    share, order = step.draw(7, 1, 12)
    again_share, again_order = MixMatchStep(K, seed=5).draw(7, 1, 12)
    assert share == again_share and torch.equal(order, again_order)
    assert sorted(order.tolist()) == list(range(12))
    others = [step.draw(8, 1, 12), step.draw(7, 0, 12), MixMatchStep(K, seed=6).draw(7, 1, 12)]
    assert all(share != other for other, _ in others)
    assert all(not torch.equal(order, other) for _, other in others)


def test_weights_have_the_mean_of_the_larger_of_beta_and_its_complement():
    """For Beta(1, 1) the larger share is uniform on [0.5, 1]."""
    step = MixMatchStep(K, seed=0, alpha=1.0)
    shares = [step.draw(number, 0, 1)[0] for number in range(500)]
    assert min(shares) >= 0.5 and max(shares) <= 1.0
    assert sum(shares) / 500 == pytest.approx(0.75, abs=0.03)


# Empty sets


def make_parts(make_network: MakeNetwork, clean: Tensor, heads: Sequence[int] = (), strength: float = 0.0, **options):
    count = len(clean)
    regularizers = [{"alasca": AlascaRegularizer(N, K, strength=strength)} if heads else {} for _ in range(count)]
    networks = [make_network(seed, heads=heads, **options) for seed in range(count)]
    return Method(networks, [CrossEntropy() for _ in range(count)], regularizers, Told(clean))


def run(parts: Method, batch: Batch, progress: Progress = NOW, **options: object) -> StepResult:
    parts.zero_grad()
    result = MixMatchStep(K, 0, **options)(parts, batch, progress)
    result.loss.backward()
    return result


@pytest.mark.parametrize("mix", ["all", "labelled"])
@pytest.mark.parametrize(("value", "empty"), [(1.0, "unlabelled"), (0.0, "labelled")])
def test_a_set_that_is_empty_costs_nothing(
    value: float, empty: str, mix: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    parts = make_parts(make_network, torch.full((2, 6), value))
    result = run(parts, with_view(make_batch()), mix=mix)
    assert torch.isfinite(result.loss)
    assert result.terms[f"loss_{empty}/0"].item() == 0.0
    # Every parameter has a gradient: with several processes all must take part in its sum.
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parts.networks.parameters())
    if mix == "labelled" and empty == "labelled":
        assert result.loss.item() == 0.0
        assert not any(p.grad.any() for p in parts.networks.parameters())


def test_a_single_labelled_sample_is_enough(make_network: MakeNetwork, make_batch: MakeBatch):
    clean = torch.zeros(1, 6)
    clean[0, 3] = 1.0
    result = run(make_parts(make_network, clean), with_view(make_batch()), mix="labelled")
    assert torch.isfinite(result.loss) and result.terms["loss_labelled"].item() > 0
    assert result.weight.tolist() == [[0, 0, 0, 1, 0, 0]]


def test_labels_of_unlabelled_samples_are_ignored(make_network: MakeNetwork, make_batch: MakeBatch):
    clean = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    batch = with_view(make_batch())
    other = batch._replace(label=torch.cat([batch.label[:3], (batch.label[3:] + 1) % K]))
    one, two = make_parts(make_network, clean), make_parts(make_network, clean)
    assert torch.equal(run(one, batch).loss, run(two, other).loss)
    assert_same(gradients(one.networks), gradients(two.networks))


# Warm-up


def test_the_warmup_is_the_supervised_step(make_network: MakeNetwork, make_batch: MakeBatch):
    early, clean = NOW._replace(epoch=9), torch.ones(2, 6)
    one, two = make_parts(make_network, clean, (1, 2), 2.0), make_parts(make_network, clean, (1, 2), 2.0)
    result = run(one, with_view(make_batch()), early)
    expected = SupervisedStep()(two, make_batch(), early)
    expected.loss.backward()
    assert torch.equal(result.loss, expected.loss) and result.terms.keys() == expected.terms.keys()
    assert_same(gradients(one.networks), gradients(two.networks))


def test_confident_predictions_cost_during_the_warmup_only(make_network: MakeNetwork, make_batch: MakeBatch):
    batch, clean = with_view(make_batch()), torch.ones(1, 6)
    parts = make_parts(make_network, clean)
    expected = 0.0
    for row in copy.deepcopy(parts.networks[0])(batch.image).logits.tolist():
        expected += sum(p * math.log(p) for p in softmax(row)) / 6
    result = run(parts, batch, NOW._replace(epoch=3), warmup_penalty=0.5)
    assert result.terms["loss_confidence"].item() == pytest.approx(expected, rel=1e-5)
    assert result.loss.item() == pytest.approx(result.terms["loss_base"].item() + 0.5 * expected, rel=1e-5)
    assert "loss_confidence" not in run(parts, batch, warmup_penalty=0.5).terms


# Regularizers


def test_strength_zero_equals_absence(make_network: MakeNetwork, make_batch: MakeBatch):
    """Bit for bit, in gradients, weights and batch-norm statistics of the main networks after several steps."""
    clean = torch.tensor([[0.9, 0.2, 0.7, 0.1, 0.8, 0.3], [0.1, 0.9, 0.6, 0.7, 0.2, 0.4]])
    absent, off = make_parts(make_network, clean), make_parts(make_network, clean, (1, 2), 0.0)
    optimizers = [torch.optim.SGD(p.networks.parameters(), 0.05, momentum=0.9) for p in (absent, off)]
    for number in range(3):
        for parts, optimizer in zip((absent, off), optimizers):
            run(parts, with_view(make_batch(number), number), NOW._replace(step=145 + number))
            optimizer.step()
        one, other = gradients(absent.networks), gradients(off.networks)
        assert_same(one, {name: other[name] for name in one})
    main, other = absent.networks.state_dict(), off.networks.state_dict()
    assert_same(main, {name: other[name] for name in main})
    # Three passes in each of three steps.
    assert {int(value) for name, value in main.items() if name.endswith("num_batches_tracked")} == {9}


def test_a_penalty_sees_unmixed_first_views_with_all_given_labels(make_network: MakeNetwork, make_batch: MakeBatch):
    class Watcher(Regularizer):
        needs = frozenset({"aux_logits"})

        def __init__(self) -> None:
            super().__init__(2.0)
            self.seen: list[StepView] = []
            self.observed: list[Tensor] = []

        def observe(self, logits: Tensor, index: Tensor) -> None:
            assert not logits.requires_grad and not self.seen
            self.observed.append(logits)

        def forward(self, view: StepView) -> Tensor:
            self.seen.append(view)
            return view.base_loss

    watcher, network, batch = Watcher(), make_network(), with_view(make_batch())
    clean = torch.tensor([[1.0, 0, 1, 0, 0, 1]])
    parts = Method([network], [CrossEntropy()], [{"watch": watcher}], Told(clean))
    expected = copy.deepcopy(network)(batch.image)
    result = MixMatchStep(K, 0)(parts, batch, NOW)
    (view,) = watcher.seen
    torch.testing.assert_close(view.output.logits, expected.logits)
    torch.testing.assert_close(view.output.aux_logits[1], expected.aux_logits[1])
    assert view.output.logits.requires_grad and torch.equal(view.targets.label[0], batch.label)
    assert torch.equal(view.weight, clean[0]) and torch.equal(watcher.observed[0], view.output.logits)
    cost = nn.functional.cross_entropy(expected.logits, batch.label)
    torch.testing.assert_close(result.terms["loss_watch"], cost.detach())
    torch.testing.assert_close(result.loss.detach(), result.terms["loss_base"] + 2.0 * cost.detach())
    assert result.terms["loss"].item() == result.loss.item()


class Says(nn.Module):
    """A network that predicts the same for every image with its main and its auxiliary head."""

    def __init__(self, logits: Sequence[float], aux: Sequence[float]) -> None:
        super().__init__()
        self.logits, self.aux = (nn.Parameter(torch.tensor(values)) for values in (logits, aux))

    def forward(self, image: Tensor) -> NetworkOutput:
        rows = self.logits.expand(len(image), -1)
        return NetworkOutput(rows, (self.aux.expand(len(image), -1),), rows)


def test_a_shared_table_is_read_for_one_network_before_the_next_moves_it():
    """The example of the supervised step: penalties 0.910 and 1.890 with strength 2."""
    shared = AlascaRegularizer(2, 2, strength=2.0, momentum=0.7, temperature=1 / 3, ramp_epochs=0, shared_ema=True)
    networks = [Says([2.0, 0.0], [1.0, 0.0]), Says([0.0, 2.0], [1.0, 0.0])]
    parts = Method(networks, [CrossEntropy() for _ in range(2)], [{"alasca": shared}] * 2, Told(torch.ones(2, 2)))
    image = torch.zeros(2, 1, 1, 1)
    batch = Batch(image, torch.zeros(2, dtype=torch.int64), torch.arange(2), views=(image,))
    terms = MixMatchStep(2, 0)(parts, batch, NOW).terms
    found = [2.0 * terms[f"loss_alasca/{number}"].item() for number in range(2)]
    assert found == pytest.approx([0.910, 1.890], abs=1e-3)


def test_penalties_see_peers_and_parts_of_the_run_observe(make_network: MakeNetwork, make_batch: MakeBatch):
    class Watching(Told):
        def observe(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
            self.seen = (logits, label, index)

    class Keeps(Regularizer):
        def forward(self, view: StepView) -> Tensor:
            self.view = view
            return torch.zeros_like(view.base_loss)

    selector, penalties = Watching(torch.ones(2, 6)), [Keeps(1.0), Keeps(1.0)]
    networks = [make_network(seed) for seed in range(2)]
    parts = Method(networks, [CrossEntropy(), CrossEntropy()], [{"keeps": each} for each in penalties], selector)
    batch = with_view(make_batch())
    result = run(parts, batch)
    assert penalties[0].view.peers == (penalties[1].view.output,)
    assert penalties[1].view.peers == (penalties[0].view.output,)
    logits, label, index = selector.seen
    assert torch.equal(logits, torch.stack(result.logits))
    assert torch.equal(label, batch.label) and torch.equal(index, batch.index)


def test_a_penalty_reaches_the_backbone(make_network: MakeNetwork, make_batch: MakeBatch):
    clean = torch.ones(1, 6)
    absent, on = make_parts(make_network, clean), make_parts(make_network, clean, (1, 2), 0.5)
    for parts in (absent, on):
        run(parts, with_view(make_batch()))
    one, other = (parts.networks[0].backbone.stages[0][0].weight.grad for parts in (absent, on))
    assert not torch.allclose(one, other)
    assert_same(gradients(absent.networks[0].head), gradients(on.networks[0].head))


def test_under_mixed_precision_every_weight_gets_a_gradient(make_network: MakeNetwork, make_batch: MakeBatch):
    parts = make_parts(make_network, torch.tensor([[1.0, 0, 1, 0, 1, 0]]))
    with torch.autocast("cpu", torch.bfloat16):
        result = MixMatchStep(K, 0)(parts, with_view(make_batch()), NOW)
    result.loss.backward()
    assert result.loss.dtype == torch.float32
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parts.networks.parameters())


# Several processes


def test_averaged_gradients_of_two_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch):
    """The same rows in two unequal parts, one without labelled rows: values and slopes of all three terms."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, generator=random, dtype=torch.float64).requires_grad_()
    target = torch.randn(7, 3, generator=random, dtype=torch.float64).softmax(dim=1)
    labelled = torch.tensor([1.0, 0, 1, 1, 0, 0, 0], dtype=torch.float64)
    step = MixMatchStep(3, 0)

    def losses(rows: slice) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        mixed = mixmatch._Mixed(logits[rows].log_softmax(1), target[rows], labelled[rows], 1 - labelled[rows])
        return step._losses([mixed], len(target[rows]), NOW)

    whole, whole_terms, _ = losses(slice(0, 7))
    (slope,) = torch.autograd.grad(whole.sum(), logits)

    sent: list[Tensor] = []
    monkeypatch.setattr(mixmatch, "world_size", lambda: 2)
    monkeypatch.setattr(mixmatch, "sum_ranks", lambda value: sent.append(value) or value)
    parts = [slice(0, 4), slice(4, 7)]
    for rows in parts:
        losses(rows)
    together = sent[0] + sent[1]
    monkeypatch.setattr(mixmatch, "sum_ranks", lambda value: together)
    results = [losses(rows) for rows in parts]
    slopes = [torch.autograd.grad(loss.sum(), logits)[0] for loss, _, _ in results]
    torch.testing.assert_close((slopes[0] + slopes[1]) / 2, slope)
    for name, value in whole_terms.items():
        torch.testing.assert_close((results[0][1][name] + results[1][1][name]) / 2, value)
    assert results[0][2].item() == 3.5


# Bad input


def test_parts_that_do_not_fit_are_named(make_network: MakeNetwork, make_batch: MakeBatch):
    step, network = MixMatchStep(K, 0), make_network(heads=())

    class Plain(SampleSelector):
        pass

    with pytest.raises(ValueError, match="clean probability, got none"):
        step(Method([network], [CrossEntropy()]), with_view(make_batch()), NOW)
    with pytest.raises(ValueError, match="got Plain"):
        step(Method([network], [CrossEntropy()], selector=Plain()), with_view(make_batch()), NOW._replace(epoch=0))
    with pytest.raises(ValueError, match="second view"):
        step(make_parts(make_network, torch.ones(1, 6)), make_batch(), NOW)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0), ("alpha", -1.0), ("strength_unlabelled", -2.0), ("ramp_epochs", -1), ("warmup_epochs", -3),
        ("warmup_penalty", math.nan), ("mix", "unlabelled"), ("views", "weak"),
    ],
)  # fmt: skip
def test_a_value_outside_its_range_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        MixMatchStep(K, 0, **{name: value})


def test_classes_of_labels_may_count_differently(make_network: MakeNetwork, make_batch: MakeBatch, monkeypatch):
    """With weights of classes, as PES has them: twice the weight is twice the loss, and weights of 1 change nothing."""
    batch = with_view(make_batch())
    terms = []
    for weights in (None, torch.ones(1, K), torch.full((1, K), 2.0), torch.tensor([[1.0, 0.0, 0.0, 0.0]])):
        selector = Told(torch.ones(1, 6))
        if weights is not None:
            selector.class_weights = lambda weights=weights: weights  # type: ignore[attr-defined]
        step = MixMatchStep(K, seed=0, strength_prior=0.0)
        fixed(step, monkeypatch, 1.0, range(12))
        method = Method([make_network(0, heads=())], [CrossEntropy()], selector=selector)
        terms.append(step(method, batch, NOW).terms)
    plain, ones, twice, first = (float(each["loss_labelled"]) for each in terms)
    assert plain == ones > 0.0
    assert twice == pytest.approx(2 * plain)
    assert 0.0 <= first < plain
    assert float(terms[0]["loss"]) == pytest.approx(plain)


def test_the_mixing_weight_may_be_drawn_otherwise_later():
    step = MixMatchStep(K, seed=0, alpha=4.0, later_alpha=0.75)
    plain = MixMatchStep(K, seed=0, alpha=0.75)
    assert step.draw(7, 0, 4, 0.75)[0] == plain.draw(7, 0, 4)[0] != step.draw(7, 0, 4)[0]
    assert (step.later_alpha, step.later_alpha_from, plain.later_alpha) == (0.75, 150, 0.75)
