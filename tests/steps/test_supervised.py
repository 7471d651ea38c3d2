"""How a batch becomes a loss and gradients, and the switches that must change nothing when off."""

import copy
from collections.abc import Callable, Iterable, Sequence

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from alasca_pl.alasca.criterion import AdaptiveLabelSmoothing
from alasca_pl.alasca.regularizer import AlascaRegularizer, UniformSmoothingOnHeads
from alasca_pl.core.errors import UserError
from alasca_pl.core.parts import Criterion, GradientTransform, InputMixer, Regularizer, SampleSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import Batch, DataFacts, NetworkOutput, Progress, StepResult, StepView, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.elr import EarlyLearningRegularization
from alasca_pl.methods.gce import GeneralisedCrossEntropy
from alasca_pl.methods.sce import SymmetricCrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.models.teacher import WeightAverage
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.optim import OptimConfig

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]
N, K = 20, 4
NOW = Progress(epoch=20, step=60, max_epochs=100, steps_per_epoch=3)
CRITERIA: dict[str, Callable[[], Criterion]] = {
    "ce": CrossEntropy,
    "gce": GeneralisedCrossEntropy,
    "sce": SymmetricCrossEntropy,
    "elr": lambda: EarlyLearningRegularization(N, K),
    "als": lambda: AdaptiveLabelSmoothing(N, K, momentum=0.7),
}
REGULARIZERS: dict[str, Callable[[float], Regularizer]] = {
    "alasca": lambda strength: AlascaRegularizer(N, K, strength=strength),
    "uniform": lambda strength: UniformSmoothingOnHeads(strength=strength),
}


class Fixed(SampleSelector):
    """Gives the weights it was made with, and keeps what it was shown."""

    def __init__(self, weight: Tensor | float, normalise: str = "selected") -> None:
        super().__init__()
        self.weight, self.normalise = weight, normalise
        self.seen: list[tuple[Tensor, Sequence[Tensor]]] = []

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        self.seen.append((losses, logits))
        return torch.as_tensor(self.weight).expand_as(losses).clone()


class Mix(InputMixer):
    """Mixes each image with its neighbour by fixed weights."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, batch: Batch, progress: Progress) -> tuple[Tensor, Targets]:
        label = torch.stack([batch.label, batch.label.roll(1)])
        index = torch.stack([batch.index, batch.index.roll(1)])
        weight = torch.tensor([[self.weight], [1 - self.weight]]).expand(2, len(batch.label))
        mixed = self.weight * batch.image + (1 - self.weight) * batch.image.roll(1, dims=0)
        return mixed, Targets(label, index, weight)


class Watcher(CrossEntropy):
    """Cross-entropy that keeps what it observes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def observe(self, logits: Tensor, index: Tensor) -> None:
        assert not logits.requires_grad
        self.seen.append((logits.clone(), index.clone()))


def step(parts: Method, batch: Batch, progress: Progress = NOW) -> StepResult:
    """Take one step and differentiate."""
    parts.zero_grad()
    result = SupervisedStep()(parts, batch, progress)
    result.loss.backward()
    return result


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Equal to the last bit, and not for want of anything to compare."""
    assert one and one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


# The base loss


def test_loss_is_the_mean_over_the_batch(make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch = make_network(), make_batch()
    result = SupervisedStep()(Method([copy.deepcopy(network)], [CrossEntropy()]), batch, NOW)
    expected = F.cross_entropy(network(batch.image).logits, batch.label)
    torch.testing.assert_close(result.loss, expected)
    assert result.terms.keys() == {"loss", "loss_base"}
    assert result.weight.tolist() == [[1.0] * 6]
    torch.testing.assert_close(result.logits[0], network(batch.image).logits.detach())
    assert not any(value.requires_grad for value in (*result.terms.values(), *result.logits, result.weight))


def test_a_criterion_that_reduces_its_loss_is_named(make_network: MakeNetwork, make_batch: MakeBatch):
    class Reduced(CrossEntropy):
        def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
            return super().forward(logits, targets, progress).mean()

    with pytest.raises(
        UserError, match=r"criterion Reduced must return one loss per row, shape \(6,\), got shape \(\)"
    ):
        SupervisedStep()(Method([make_network()], [Reduced()]), make_batch(), NOW)


def test_penalty_counts_all_samples_times_its_strength(make_network: MakeNetwork, make_batch: MakeBatch):
    """Labels at the start are trusted fully: base CE over the kept ones plus 1.5 times the CE of both heads over all."""
    network, batch = make_network(), make_batch()
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    regularizers = [{"alasca": AlascaRegularizer(N, K, strength=1.5)}]
    parts = Method([copy.deepcopy(network)], [CrossEntropy()], regularizers, Fixed(weight))
    result = SupervisedStep()(parts, batch, NOW._replace(epoch=0))
    output = network(batch.image)
    base = F.cross_entropy(output.logits[[0, 3]], batch.label[[0, 3]])
    penalty = sum(F.cross_entropy(logits, batch.label) for logits in output.aux_logits)
    torch.testing.assert_close(result.loss, base + 1.5 * penalty)
    torch.testing.assert_close(result.terms["loss_base"], base.detach())
    torch.testing.assert_close(result.terms["loss_alasca"], penalty.detach())
    torch.testing.assert_close(result.terms["loss"], result.loss.detach())
    assert regularizers[0]["alasca"].label_confidence.table.rows[batch.index].any(dim=1).all()


def test_parts_observe_once_and_before_any_loss(make_network: MakeNetwork, make_batch: MakeBatch):
    """The first ELR loss already sees the table that this step's predictions moved."""
    network, batch, criterion = make_network(heads=()), make_batch(), EarlyLearningRegularization(N, K)
    result = SupervisedStep()(Method([copy.deepcopy(network)], [criterion]), batch, NOW)
    logits = network(batch.image).logits.detach()
    reference = EarlyLearningRegularization(N, K)
    reference.observe(logits, batch.index)
    assert torch.equal(criterion.average.rows, reference.average.rows)
    expected = reference(logits, Targets.unmixed(batch.label, batch.index), NOW).mean()
    torch.testing.assert_close(result.loss.detach(), expected)


# Selection


@pytest.mark.parametrize("normalise", ["selected", "batch"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_selecting_everything_equals_no_selector(
    criterion: str, normalise: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    without = Method([make_network()], [CRITERIA[criterion]()], [{"alasca": REGULARIZERS["alasca"](2.0)}])
    with_selector = copy.deepcopy(without)
    with_selector.selector = Fixed(1.0, normalise)
    one, other = step(without, make_batch()), step(with_selector, make_batch())
    assert torch.equal(one.loss, other.loss)
    assert_same(gradients(without), gradients(with_selector))
    assert other.terms["selected"].item() == 1.0


@pytest.mark.parametrize("normalise", ["selected", "batch"])
def test_weights_are_normalised_by_their_sum_or_by_the_batch(
    normalise: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    network, batch = make_network(heads=()), make_batch()
    weight = [0.5, 0.0, 1.0, 2.0, 0.0, 0.25]
    parts = Method([copy.deepcopy(network)], [CrossEntropy()], selector=Fixed(torch.tensor(weight), normalise))
    result = SupervisedStep()(parts, batch, NOW)
    losses = F.cross_entropy(network(batch.image).logits, batch.label, reduction="none").tolist()
    total = sum(w * loss for w, loss in zip(weight, losses))
    assert result.loss.item() == pytest.approx(total / (sum(weight) if normalise == "selected" else 6), rel=1e-5)
    assert result.weight.tolist() == [weight]
    assert result.terms["selected"].item() == pytest.approx(4 / 6)


@pytest.mark.parametrize("normalise", ["selected", "batch"])
def test_selecting_nothing_gives_a_finite_loss_and_zero_gradients(
    normalise: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    parts = Method([make_network(heads=())], [CrossEntropy()], selector=Fixed(0.0, normalise))
    result = step(parts, make_batch())
    assert result.loss.item() == 0.0
    assert result.terms["selected"].item() == 0.0
    # Every parameter has a gradient: with several processes all must take part in its sum.
    assert all(p.grad is not None and not p.grad.any() for p in parts.networks.parameters())


def test_selecting_nothing_leaves_the_penalty(make_network: MakeNetwork, make_batch: MakeBatch):
    parts = Method([make_network()], [CrossEntropy()], [{"uniform": UniformSmoothingOnHeads()}], Fixed(0.0))
    result = step(parts, make_batch())
    torch.testing.assert_close(result.loss.detach(), 2.0 * result.terms["loss_uniform"])
    assert result.loss.item() > 0
    network = parts.networks[0]
    assert not network.head.weight.grad.any()
    assert all(parameter.grad.any() for parameter in network.backbone.stages[0].parameters())


def test_the_selector_sees_detached_losses_and_predictions_of_all_networks(
    make_network: MakeNetwork, make_batch: MakeBatch
):
    selector, batch = Fixed(1.0), make_batch()
    networks = [make_network(seed, heads=()) for seed in (0, 1)]
    SupervisedStep()(Method(networks, [CrossEntropy(), CrossEntropy()], selector=selector), batch, NOW)
    ((losses, logits),) = selector.seen
    assert losses.shape == (2, 6) and not losses.requires_grad
    for row, network_logits in zip(losses, logits, strict=True):
        assert not network_logits.requires_grad
        torch.testing.assert_close(row, F.cross_entropy(network_logits, batch.label, reduction="none"))


def test_weights_carry_no_gradient(make_network: MakeNetwork, make_batch: MakeBatch):
    weight = torch.full((6,), 0.5, requires_grad=True)
    result = step(Method([make_network()], [CrossEntropy()], selector=Fixed(weight)), make_batch())
    assert weight.grad is None and not result.weight.requires_grad


# Mixing


@pytest.mark.parametrize(
    ("criterion", "norm"),
    # What observes looks at a second pass in evaluation mode, which is the same only without batch statistics.
    [("ce", "batch"), ("gce", "batch"), ("sce", "batch"), ("ce", "group"), ("elr", "group"), ("als", "group")],
)
def test_mixing_with_weight_one_equals_no_mixer(
    criterion: str, norm: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    heads = (1, 2) if norm == "group" else ()
    regularizers = [{"alasca": REGULARIZERS["alasca"](2.0)}] if heads else None
    without = Method([make_network(heads=heads, norm=norm)], [CRITERIA[criterion]()], regularizers)
    with_mixer = copy.deepcopy(without)
    with_mixer.mixer = Mix(1.0)
    for seed in range(3):
        one, other = step(without, make_batch(seed)), step(with_mixer, make_batch(seed))
        assert torch.equal(one.loss, other.loss)
        assert_same(gradients(without), gradients(with_mixer))


def test_mixed_loss_is_that_of_mixed_images_and_mixed_labels(make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch = make_network(heads=()), make_batch()
    result = SupervisedStep()(Method([copy.deepcopy(network)], [CrossEntropy()], mixer=Mix(0.7)), batch, NOW)
    logits = network(0.7 * batch.image + 0.3 * batch.image.roll(1, dims=0)).logits
    first, second = F.cross_entropy(logits, batch.label), F.cross_entropy(logits, batch.label.roll(1))
    torch.testing.assert_close(result.loss, 0.7 * first + 0.3 * second)


def test_with_a_mixer_parts_observe_unmixed_predictions(make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch, watcher = make_network(heads=()), make_batch(), Watcher()
    reference = copy.deepcopy(network)
    result = SupervisedStep()(Method([network], [watcher], mixer=Mix(0.5)), batch, NOW)
    reference(0.5 * batch.image + 0.5 * batch.image.roll(1, dims=0))
    expected = reference.eval()(batch.image).logits.detach()
    ((logits, index),) = watcher.seen
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(result.logits[0], expected)
    assert torch.equal(index, batch.index)


def test_with_a_mixer_monitors_get_unmixed_predictions_also_if_nothing_observes(
    make_network: MakeNetwork, make_batch: MakeBatch
):
    network, batch = make_network(heads=(), norm="group"), make_batch()
    result = SupervisedStep()(Method([network], [CrossEntropy()], mixer=Mix(0.5)), batch, NOW)
    torch.testing.assert_close(result.logits[0], network(batch.image).logits.detach())


def test_with_a_mixer_batch_norm_statistics_move_once_and_by_the_mixed_images(
    make_network: MakeNetwork, make_batch: MakeBatch
):
    network, batch = make_network(heads=()), make_batch()
    reference = copy.deepcopy(network)
    SupervisedStep()(Method([network], [Watcher()], mixer=Mix(0.5)), batch, NOW)
    reference(0.5 * batch.image + 0.5 * batch.image.roll(1, dims=0))
    assert_same(dict(network.named_buffers()), dict(reference.named_buffers()))
    assert {int(value) for name, value in network.named_buffers() if name.endswith("num_batches_tracked")} == {1}
    assert network.training


def test_with_a_mixer_layers_in_evaluation_mode_stay_so(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network(heads=()).train()
    network.backbone.stages[0].eval()
    before = {name: module.training for name, module in network.named_modules()}
    SupervisedStep()(Method([network], [Watcher()], mixer=Mix(0.5)), make_batch(), NOW)
    assert {name: module.training for name, module in network.named_modules()} == before


@pytest.mark.parametrize("mixer", [None, Mix(0.5)], ids=["unmixed", "mixed"])
def test_with_a_teacher_parts_observe_its_predictions(
    mixer: InputMixer | None, make_network: MakeNetwork, make_batch: MakeBatch
):
    watcher, batch, teacher = Watcher(), make_batch(), WeightAverage(make_network(seed=5))
    parts = Method([make_network()], [watcher], mixer=mixer, teachers=[teacher])
    result = step(parts, batch)
    expected = make_network(seed=5).eval()(batch.image).logits.detach()
    torch.testing.assert_close(watcher.seen[0][0], expected)
    torch.testing.assert_close(result.logits[0], expected)
    assert not gradients(teacher)


def test_parts_listen_to_their_own_teacher_or_to_the_peers(make_network: MakeNetwork, make_batch: MakeBatch):
    batch, expected = (
        make_batch(),
        [make_network(seed).eval()(make_batch().image).logits.detach() for seed in (5, 6, 7)],
    )
    for listen, order in (("self", (0, 1, 2)), ("peer", (1, 2, 0))):
        watchers = [Watcher() for _ in range(3)]
        teachers = [WeightAverage(make_network(seed), listen=listen) for seed in (5, 6, 7)]
        parts = Method([make_network(seed) for seed in range(3)], watchers, teachers=teachers)
        result = SupervisedStep()(parts, batch, NOW)
        for number, heard in enumerate(order):
            torch.testing.assert_close(watchers[number].seen[0][0], expected[heard])
            torch.testing.assert_close(result.logits[number], expected[heard])


def test_a_step_asks_for_one_view_and_hands_out_base_losses(make_network: MakeNetwork, make_batch: MakeBatch):
    batch, network = make_batch(), make_network(heads=())
    step_ = SupervisedStep()
    result = step_(Method([copy.deepcopy(network)], [CrossEntropy()], selector=Fixed(0.0)), batch, NOW)
    expected = F.cross_entropy(network(batch.image).logits, batch.label, reduction="none")
    assert step_.views == ("default",) and not result.losses.requires_grad
    torch.testing.assert_close(result.losses, expected.detach().unsqueeze(0))


def test_penalties_of_the_step_join_those_of_the_parts(make_network: MakeNetwork, make_batch: MakeBatch):
    class OfEachNetwork(Regularizer):
        def forward(self, view: StepView) -> Tensor:
            return view.output.logits.square().sum(dim=1)

    networks, batch = [make_network(seed, heads=()) for seed in (0, 1)], make_batch()
    expected = [copy.deepcopy(network)(batch.image).logits.square().sum(dim=1).mean() for network in networks]
    result = SupervisedStep({"size": OfEachNetwork(0.5)})(
        Method(networks, [CrossEntropy(), CrossEntropy()]), batch, NOW
    )
    base = result.terms["loss_base/0"] + result.terms["loss_base/1"]
    torch.testing.assert_close(result.loss, base + 0.5 * sum(expected))
    torch.testing.assert_close(result.terms["loss_size/1"], expected[1].detach())


# Two networks


def make_pair(make_network: MakeNetwork, seeds: tuple[int, int] = (0, 1)) -> Method:
    return Method(
        [make_network(seed) for seed in seeds],
        [EarlyLearningRegularization(N, K), EarlyLearningRegularization(N, K)],
        [{"alasca": AlascaRegularizer(N, K)}, {"alasca": AlascaRegularizer(N, K)}],
    )


def tables(parts: Method, number: int) -> dict[str, Tensor]:
    criterion, regularizer = parts.criteria[number], parts.regularizers[number]["alasca"]
    return {"elr": criterion.average.rows.clone(), "alasca": regularizer.label_confidence.table.rows.clone()}


def test_loss_of_two_networks_is_the_sum_and_gradients_are_their_own(make_network: MakeNetwork, make_batch: MakeBatch):
    pair, batch = make_pair(make_network), make_batch()
    result = step(pair, batch)
    singles = []
    for number in range(2):
        single = Method(
            [make_network(number)], [EarlyLearningRegularization(N, K)], [{"alasca": AlascaRegularizer(N, K)}]
        )
        singles.append(step(single, batch))
        assert_same(gradients(single.networks[0]), gradients(pair.networks[number]))
        torch.testing.assert_close(result.terms[f"loss_base/{number}"], singles[number].terms["loss_base"])
        torch.testing.assert_close(result.terms[f"loss_alasca/{number}"], singles[number].terms["loss_alasca"])
    torch.testing.assert_close(result.loss, singles[0].loss + singles[1].loss)
    assert len(result.logits) == 2 and result.weight.shape == (2, 6)


def test_another_second_network_leaves_the_tables_and_gradients_of_the_first_alone(
    make_network: MakeNetwork, make_batch: MakeBatch
):
    one, other = make_pair(make_network, (0, 1)), make_pair(make_network, (0, 2))
    for seed in range(2):
        step(one, make_batch(seed))
        step(other, make_batch(seed))
    assert_same(tables(one, 0), tables(other, 0))
    assert_same(gradients(one.networks[0]), gradients(other.networks[0]))
    assert all(not torch.equal(table, tables(other, 1)[name]) for name, table in tables(one, 1).items())


def test_a_shared_table_moves_towards_each_network_in_turn(make_network: MakeNetwork, make_batch: MakeBatch):
    shared = AlascaRegularizer(N, K, momentum=0.7, shared_ema=True)
    networks, batch = [make_network(number) for number in range(2)], make_batch()
    parts = Method(networks, [CrossEntropy(), CrossEntropy()], [{"alasca": shared}, {"alasca": shared}])
    first, second = step(parts, batch).logits
    expected = torch.zeros(N, K)
    for row, index in enumerate(batch.index.tolist()):
        expected[index] = 0.7 * 0.3 * first[row] + 0.3 * second[row]
    torch.testing.assert_close(shared.label_confidence.table.rows, expected)


class Says(nn.Module):
    """A network that predicts the same for every image: ``logits`` of its main and ``aux`` of its auxiliary head."""

    def __init__(self, logits: Sequence[float], aux: Sequence[float]) -> None:
        super().__init__()
        self.logits, self.aux = (nn.Parameter(torch.tensor(values)) for values in (logits, aux))

    def forward(self, image: Tensor) -> NetworkOutput:
        rows = self.logits.expand(len(image), -1)
        return NetworkOutput(rows, (self.aux.expand(len(image), -1),), rows)


@pytest.mark.parametrize("size", [1, 3])
def test_a_shared_table_is_read_for_one_network_before_the_next_moves_it(size: int):
    """The authors' order. One table of zeros, momentum 0.7, temperature 1/3, label 0, ramp over.

    Network 0 moves it to [0.6, 0]: confidence 0.858, penalty 2 * 0.455. Then network 1 moves it to [0.42, 0.6]: confidence
    0.368, penalty 2 * 0.945.
    """
    shared = AlascaRegularizer(size, 2, strength=2.0, momentum=0.7, temperature=1 / 3, shared_ema=True)
    networks = [Says([2.0, 0.0], [1.0, 0.0]), Says([0.0, 2.0], [1.0, 0.0])]
    parts = Method(networks, [CrossEntropy(), CrossEntropy()], [{"alasca": shared}, {"alasca": shared}])
    batch = Batch(torch.zeros(size, 1, 1, 1), torch.zeros(size, dtype=torch.int64), torch.arange(size))
    terms = step(parts, batch, NOW._replace(epoch=50)).terms
    found = [2.0 * terms[f"loss_alasca/{number}"].item() for number in range(2)]
    assert found == pytest.approx([0.910, 1.890], abs=1e-3)
    torch.testing.assert_close(shared.label_confidence.table.rows, torch.tensor([[0.42, 0.6]] * size))


class Peers(Regularizer):
    """Squared distance from the next network's logits; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.views: list[StepView] = []

    def forward(self, view: StepView) -> Tensor:
        self.views.append(view)
        return (view.output.logits - view.peers[0].logits).square().sum(dim=1)


def test_a_penalty_sees_the_other_networks_the_next_one_first(make_network: MakeNetwork, make_batch: MakeBatch):
    penalties = [Peers() for _ in range(3)]
    parts = Method(
        [make_network(seed) for seed in range(3)],
        [CrossEntropy() for _ in range(3)],
        [{"agree": penalty} for penalty in penalties],
    )
    step(parts, make_batch())
    views = [penalty.views[0] for penalty in penalties]
    for number, view in enumerate(views):
        others = [views[(number + 1) % 3].output, views[(number + 2) % 3].output]
        assert len(view.peers) == 2
        assert all(peer is other for peer, other in zip(view.peers, others))


def test_an_agreement_term_moves_both_networks_and_a_lone_network_has_no_peers():
    """Each network's penalty is |[1, 0] - [0, 2]|^2 = 5, of which both are differentiated."""
    networks = [Says([1.0, 0.0], [0.0, 0.0]), Says([0.0, 2.0], [0.0, 0.0])]
    parts = Method(networks, [CrossEntropy(scale=0.0)] * 2, [{"agree": Peers()}, {"agree": Peers()}])
    batch = Batch(torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64), torch.arange(2))
    assert step(parts, batch).loss.item() == 10.0
    assert networks[0].logits.grad.tolist() == [4.0, -8.0]
    assert networks[1].logits.grad.tolist() == [-4.0, 8.0]
    lone = Keeps()
    step(Method([Says([1.0, 0.0], [0.0, 0.0])], [CrossEntropy()], [{"keeps": lone}]), batch)
    assert lone.peers == ()


class Keeps(Regularizer):
    """Costs nothing and keeps the peers that it was shown."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def forward(self, view: StepView) -> Tensor:
        self.peers = view.peers
        return torch.zeros_like(view.base_loss)


# Parts that exist once per run


class AverageLoss(SampleSelector):
    """Weighs by the moving average of each network's losses, which ``observe`` keeps per sample."""

    def __init__(self, networks: int) -> None:
        super().__init__()
        self.average = SampleBuffer(N, networks, momentum=0.5)

    def observe(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
        losses = F.cross_entropy(logits.movedim(0, -1), label.unsqueeze(1).expand(-1, len(logits)), reduction="none")
        self.average.update(losses, index)

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return self.average.rows[targets.index[0]].T.to(losses)


def test_a_selector_can_average_losses_over_epochs(make_network: MakeNetwork, make_batch: MakeBatch):
    """Two networks without steps of an optimiser in between: half, then three quarters of the loss."""
    networks, batch = [make_network(seed, norm="group") for seed in range(2)], make_batch()
    parts = Method(networks, [CrossEntropy(), CrossEntropy()], selector=AverageLoss(2))
    losses = torch.stack([F.cross_entropy(net(batch.image).logits, batch.label, reduction="none") for net in networks])
    for share in (0.5, 0.75):
        torch.testing.assert_close(step(parts, batch).weight, share * losses.detach())


def test_parts_of_the_run_observe_once_per_step_after_those_of_networks_and_before_any_loss(
    make_network: MakeNetwork, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []
    shown: list[tuple[Tensor, ...]] = []

    class Loss(CrossEntropy):
        def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
            seen.append("loss")
            return super().forward(logits, targets, progress)

    def note(part: nn.Module, name: str) -> nn.Module:
        monkeypatch.setattr(part, "observe", lambda *values: (seen.append(name), shown.append(values)))
        return part

    parts = Method(
        [make_network(seed) for seed in range(2)],
        [note(Loss(), f"criterion {number}") for number in range(2)],
        None,
        note(Fixed(1.0), "selector"),
        note(Mix(0.7), "mixer"),
        gradient_transform=note(GradientTransform(), "transform"),
    )
    batch = make_batch()
    result = step(parts, batch)
    assert seen == ["criterion 0", "criterion 1", "selector", "mixer", "transform", "loss", "loss"]
    for logits, label, index in shown[2:]:
        assert torch.equal(logits, torch.stack(result.logits)) and not logits.requires_grad
        assert torch.equal(label, batch.label) and torch.equal(index, batch.index)


def test_each_network_is_normalised_by_its_own_selection(make_network: MakeNetwork, make_batch: MakeBatch):
    weight = torch.tensor([[1.0, 1, 1, 1, 1, 1], [0.0, 0, 0, 0, 2, 0]])
    networks, batch = [make_network(seed, heads=()) for seed in (0, 1)], make_batch()
    expected = [
        F.cross_entropy(copy.deepcopy(net)(batch.image).logits, batch.label, reduction="none") for net in networks
    ]
    result = SupervisedStep()(Method(networks, [CrossEntropy(), CrossEntropy()], selector=Fixed(weight)), batch, NOW)
    torch.testing.assert_close(result.terms["loss_base/0"], expected[0].mean().detach())
    torch.testing.assert_close(result.terms["loss_base/1"], expected[1][4].detach())
    assert result.terms["selected/0"].item() == 1.0
    assert result.terms["selected/1"].item() == pytest.approx(1 / 6)


# Strength 0


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_strength_zero_equals_absence(
    criterion: str, regularizer: str, make_network: MakeNetwork, make_batch: MakeBatch
):
    """Bit for bit, in gradients and weights of the main network after several steps of SGD."""
    absent = Method([make_network(heads=())], [CRITERIA[criterion]()])
    off = Method([make_network()], [CRITERIA[criterion]()], [{"penalty": REGULARIZERS[regularizer](0.0)}])
    main = dict(absent.networks[0].state_dict())
    optimizers = [torch.optim.SGD(p.networks.parameters(), 0.1, momentum=0.9, weight_decay=1e-3) for p in (absent, off)]
    start = {name: value.clone() for name, value in main.items()}
    for number in range(4):
        for parts, optimizer in zip((absent, off), optimizers):
            step(parts, make_batch(number), NOW._replace(epoch=20 + number))
            optimizer.step()
        one, other = gradients(absent.networks[0]), gradients(off.networks[0])
        assert_same(one, {name: other[name] for name in one})
    other = off.networks[0].state_dict()
    assert_same(main, {name: other[name] for name in main})
    assert not torch.equal(main["head.weight"], start["head.weight"])


def test_a_strength_above_zero_does_change_the_main_network(make_network: MakeNetwork, make_batch: MakeBatch):
    absent = Method([make_network(heads=())], [CrossEntropy()])
    on = Method([make_network()], [CrossEntropy()], [{"alasca": AlascaRegularizer(N, K, strength=0.1)}])
    step(absent, make_batch())
    step(on, make_batch())
    one, other = (parts.networks[0].backbone.stages[0][0].weight.grad for parts in (absent, on))
    assert not torch.allclose(one, other)


def test_a_penalty_reaches_only_the_backbone_and_its_heads(make_network: MakeNetwork, make_batch: MakeBatch):
    absent = Method([make_network(heads=())], [CrossEntropy()])
    on = Method([make_network()], [CrossEntropy()], [{"alasca": AlascaRegularizer(N, K)}])
    step(absent, make_batch())
    step(on, make_batch())
    one, other = gradients(absent.networks[0].head), gradients(on.networks[0].head)
    assert_same(one, other)


def test_regularizers_add_up_and_see_their_networks_view(make_network: MakeNetwork, make_batch: MakeBatch):
    class Constant(Regularizer):
        def __init__(self, strength: float, value: float) -> None:
            super().__init__(strength)
            self.value = value
            self.seen: list[StepView] = []

        def forward(self, view: StepView) -> Tensor:
            self.seen.append(view)
            return torch.full_like(view.base_loss, self.value)

    penalties = {"one": Constant(2.0, 3.0), "two": Constant(0.5, 10.0)}
    batch, weight = make_batch(), torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    parts = Method([make_network()], [CrossEntropy()], [penalties], Fixed(weight))
    result = SupervisedStep()(parts, batch, NOW)
    torch.testing.assert_close(result.loss.detach(), result.terms["loss_base"] + 2 * 3 + 0.5 * 10)
    assert (result.terms["loss_one"].item(), result.terms["loss_two"].item()) == (3.0, 10.0)
    view = penalties["two"].seen[0]
    assert torch.equal(view.weight, weight) and view.base_loss.requires_grad and view.progress == NOW
    assert torch.equal(view.targets.label[0], batch.label) and len(view.output.aux_logits) == 2


# The optimiser's step


class Record(GradientTransform):
    """Fills gradients with a constant and keeps which parameters it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[set[int]] = []

    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        parameters = list(parameters)
        self.seen.append({id(parameter) for parameter in parameters})
        for parameter in parameters:
            parameter.grad.fill_(1.0)


def make_module(parts: Method, lr: float = 0.1) -> NoisyLabelModule:
    facts = DataFacts("toy", K, N, (1, 8, 8), "", tuple("abcd"), (0.5,), (0.25,))
    return NoisyLabelModule(parts, SupervisedStep(), OptimConfig(lambda p: torch.optim.SGD(p, lr)), facts)


def fit(module: NoisyLabelModule, batches: list[Batch], **options: object) -> None:
    L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(module, DataLoader(batches, batch_size=None))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
def test_the_gradient_transform_runs_once_per_network_and_before_clipping(
    make_network: MakeNetwork, make_batch: MakeBatch
):
    """The transform sets all gradients to 1; clipped to norm 0.5 each network's weights move by lr * 0.5 in all."""
    transform, networks = Record(), [make_network(seed, heads=()) for seed in (0, 1)]
    parts = Method(networks, [CrossEntropy(), CrossEntropy()], gradient_transform=transform)
    before = [weights(network) for network in networks]
    fit(make_module(parts), [make_batch()], gradient_clip_val=0.5)
    assert transform.seen == [{id(parameter) for parameter in network.parameters()} for network in networks]
    for network, old in zip(networks, before):
        moved = torch.cat([(old[name] - new).flatten() for name, new in weights(network).items()])
        assert moved.norm().item() == pytest.approx(0.1 * 0.5, rel=1e-3)
        torch.testing.assert_close(moved, moved.mean().expand_as(moved), rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
def test_the_teacher_follows_after_each_optimiser_step(make_network: MakeNetwork, make_batch: MakeBatch):
    network = make_network(heads=())
    teacher = WeightAverage(network, 0.6)
    steps: list[dict[str, Tensor]] = [weights(network)]

    class Keep(L.Callback):
        def on_train_batch_end(self, *args: object) -> None:
            steps.append(weights(network))

    module = make_module(Method([network], [CrossEntropy()], teachers=[teacher]))
    fit(module, [make_batch(0), make_batch(1), make_batch(2)], callbacks=[Keep()])
    assert len(steps) == 4 and not torch.equal(steps[0]["head.weight"], steps[-1]["head.weight"])
    for name, average in teacher.average.named_parameters():
        expected = steps[0][name]
        for new in steps[1:]:
            expected = 0.6 * expected + 0.4 * new[name]
        torch.testing.assert_close(average, expected)


@pytest.mark.parametrize("algorithm", ["norm", None])
def test_clipping_one_network_leaves_the_other_alone(algorithm: str | None, make_network: MakeNetwork):
    networks = [make_network(seed, heads=()) for seed in (0, 1)]
    module = make_module(Method(networks, [CrossEntropy(), CrossEntropy()]))
    for network, value in zip(networks, (100.0, 1e-4)):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, value)
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters(), 0.1), 1.0, algorithm)
    norm = torch.cat([parameter.grad.flatten() for parameter in networks[0].parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, rel=1e-4)
    assert all((parameter.grad == 1e-4).all() for parameter in networks[1].parameters())


def test_clipping_by_value_bounds_each_entry_and_no_value_clips_nothing(make_network: MakeNetwork):
    network = make_network(heads=())
    module = make_module(Method([network], [CrossEntropy()]))
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    module.configure_gradient_clipping(optimizer, None, None)
    assert all((parameter.grad == -3.0).all() for parameter in network.parameters())
    module.configure_gradient_clipping(optimizer, 0.5, "value")
    assert all((parameter.grad == -0.5).all() for parameter in network.parameters())


# Method


@pytest.mark.parametrize(
    ("networks", "criteria", "regularizers", "message"),
    [(0, 0, 0, "0 networks"), (2, 1, 2, "2 networks, 1 criteria"), (1, 1, 2, "1 criteria, 2 mappings")],
)
def test_parts_that_do_not_fit_are_counted(
    networks: int, criteria: int, regularizers: int, message: str, make_network: MakeNetwork
):
    with pytest.raises(ValueError, match=message):
        Method([make_network()] * networks, [CrossEntropy()] * criteria, [{}] * regularizers)


def test_teachers_that_do_not_fit_are_counted(make_network: MakeNetwork):
    with pytest.raises(ValueError, match="1 teachers for 2 networks"):
        networks = [make_network(seed) for seed in (0, 1)]
        Method(networks, [CrossEntropy(), CrossEntropy()], teachers=[WeightAverage(networks[0])])
