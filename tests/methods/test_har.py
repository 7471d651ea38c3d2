"""Gradient penalty: against explicit computations before the affine part, second derivatives, class factors."""

import copy
import json
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.types import NetworkOutput, NormOutput, Progress, StepView, Targets
from alasca_pl.methods import har
from alasca_pl.methods.har import HeteroskedasticAdaptiveRegularizer, class_strengths_from, read_class_accuracy
from alasca_pl.models.backbones import small_resnet
from alasca_pl.models.network import Network
from alasca_pl.models.norm_outputs import norm_layers

NOW = Progress(0, 0, 10, 5)
FACTORS = [1.0, 0.25, 0.5]


class Recorded(nn.Module):
    """A normalisation written out, which keeps what it has before its affine part."""

    def __init__(self, layer: nn.Module, kept: list[Tensor]) -> None:
        super().__init__()
        self.layer, self.kept = layer, kept

    def forward(self, value: Tensor) -> Tensor:
        if isinstance(self.layer, nn.BatchNorm2d):
            mean, var = value.mean((0, 2, 3), keepdim=True), value.var((0, 2, 3), unbiased=False, keepdim=True)
            h = (value - mean) / torch.sqrt(var + self.layer.eps)
        else:
            grouped = value.unflatten(1, (self.layer.num_groups, -1))
            mean = grouped.mean((2, 3, 4), keepdim=True)
            var = grouped.var((2, 3, 4), unbiased=False, keepdim=True)
            h = ((grouped - mean) / torch.sqrt(var + self.layer.eps)).flatten(1, 2)
        self.kept.append(h)
        return h * self.layer.weight.view(1, -1, 1, 1) + self.layer.bias.view(1, -1, 1, 1)


def tiny_network(norm: str) -> Network:
    torch.manual_seed(3)
    network = Network(small_resnet(1, 4, num_stages=2, norm=norm), 3).double()
    for layer in norm_layers(network.backbone):
        # Away from ones, so that a forgotten factor shows; and of both signs.
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return network


def recorded(network: Network) -> tuple[Network, list[Tensor]]:
    other, kept = copy.deepcopy(network), []
    for block in other.modules():
        for name in ("bn1", "bn2"):
            if hasattr(block, name):
                setattr(block, name, Recorded(getattr(block, name), kept))
    return other, kept


def sample(generator: torch.Generator, size: int = 4) -> tuple[Tensor, Tensor]:
    image = torch.randn(size, 1, 6, 6, generator=generator, dtype=torch.float64)
    return image, torch.randint(3, (size,), generator=generator)


def view_of(output: NetworkOutput, label: Tensor, targets: Targets | None = None) -> StepView:
    loss = F.cross_entropy(output.logits, label, reduction="none")
    targets = targets or Targets.unmixed(label, torch.arange(len(label)))
    return StepView(output, targets, loss, torch.ones_like(loss), NOW)


def penalty_of(network: Network, image: Tensor, label: Tensor, **options) -> Tensor:
    network.enable_norm_outputs()
    return HeteroskedasticAdaptiveRegularizer(3, class_strengths=FACTORS, **options)(view_of(network(image), label))


def test_equals_a_loop_over_samples_where_samples_are_alone(agreement, generator: torch.Generator):
    """With group normalisation the gradient of the batch mean is that of each sample's loss divided by the size."""
    network = tiny_network("group")
    image, label = sample(generator)
    found = penalty_of(copy.deepcopy(network), image, label)
    expected = []
    for b in range(4):
        plain, kept = recorded(network)
        loss = F.cross_entropy(plain(image[b : b + 1]).logits, label[b : b + 1])
        norms = [math.sqrt(slope.square().sum().item()) for slope in torch.autograd.grad(loss / 4, kept)]
        assert len(norms) == 4
        expected.append(FACTORS[label[b]] * sum(norms))
    agreement(HeteroskedasticAdaptiveRegularizer, "penalty, sample by sample", found, expected, atol=1e-10)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_value_and_gradient_equal_those_of_activations_before_the_affine_part(
    norm: str, agreement, generator: torch.Generator
):
    network = tiny_network(norm).train()
    image, label = sample(generator)
    plain, kept = recorded(network)
    loss = F.cross_entropy(plain(image).logits, label)
    slopes = torch.autograd.grad(loss, kept, create_graph=True)
    factors = torch.tensor(FACTORS, dtype=torch.float64)[label]
    expected = factors * sum(slope.square().sum((1, 2, 3)).sqrt() for slope in slopes)
    found = penalty_of(network, image, label)
    agreement(HeteroskedasticAdaptiveRegularizer, f"penalty, {norm} normalisation", found, expected, atol=1e-10)
    found.mean().backward()
    expected.mean().backward()
    theirs = {name.replace(".layer.", "."): each.grad for name, each in plain.named_parameters()}
    for name, each in network.named_parameters():
        agreement(HeteroskedasticAdaptiveRegularizer, "gradient of the penalty", each.grad, theirs[name], atol=1e-10)


def test_gradcheck(generator: torch.Generator):
    network = tiny_network("group")
    network.enable_norm_outputs()
    image, label = sample(generator, size=2)
    names = [name for name, each in network.named_parameters() if "stages.1" in name and each.ndim == 1][:4]
    regularizer = HeteroskedasticAdaptiveRegularizer(3, class_strengths=FACTORS)

    def penalty(head: Tensor, *norms: Tensor) -> Tensor:
        values = {"head.weight": head, **dict(zip(names, norms))}
        return regularizer(view_of(torch.func.functional_call(network, values, (image,)), label))

    start = dict(network.named_parameters())
    values = [start[name].detach().clone().requires_grad_() for name in ("head.weight", *names)]
    assert torch.autograd.gradcheck(penalty, values)


def test_gradgradcheck_of_the_norm():
    """The penalty of one linear layer is smooth where its norm is not zero."""
    weight = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([[[[0.5]], [[-1.0]]]], dtype=torch.float64, requires_grad=True)
    regularizer = HeteroskedasticAdaptiveRegularizer(2, class_strengths=[1.0, 0.5])

    def penalty(weight: Tensor, scale: Tensor) -> Tensor:
        normalised = value * 1.0
        logits = normalised.flatten(1).tanh() @ weight.T
        return regularizer(
            view_of(NetworkOutput(logits, (), logits, (NormOutput(normalised, scale),)), torch.tensor([1]))
        )

    scale = torch.tensor([1.5, -0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (weight, scale))
    assert torch.autograd.gradgradcheck(penalty, (weight, scale))


def test_worked_example():
    """One layer without a nonlinearity: dCE/dvalue = p - onehot = (-0.5, 0.5), times scales 2 and 4: (-1, 2)."""
    value = torch.zeros(1, 2, 1, 1, requires_grad=True)
    normalised = value * 1.0
    output = NetworkOutput(
        normalised.flatten(1), (), normalised.flatten(1), (NormOutput(normalised, torch.tensor([2.0, 4.0])),)
    )
    regularizer = HeteroskedasticAdaptiveRegularizer(2, class_strengths=[0.5, 1.0])
    assert regularizer(view_of(output, torch.tensor([0]))).item() == pytest.approx(0.5 * math.sqrt(5))


def test_parts_of_a_batch_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator):
    """The size that counts is that of the global batch."""
    network = tiny_network("group")
    image, label = sample(generator)
    whole = penalty_of(network, image, label)
    # What the other of two ranks adds.
    others = iter((3.0, 1.0))
    monkeypatch.setattr(har, "sum_ranks", lambda count: count + next(others))
    parts = [penalty_of(network, image[part], label[part]) for part in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_mixed_row_has_the_mix_of_its_factors(generator: torch.Generator):
    network = tiny_network("group")
    network.enable_norm_outputs()
    image, _ = sample(generator, size=2)
    label = torch.tensor([[0, 1], [1, 2]])
    weight = torch.tensor([[0.75, 0.4], [0.25, 0.6]], dtype=torch.float64)
    targets = Targets(label, torch.zeros_like(label), weight)
    ones = HeteroskedasticAdaptiveRegularizer(3, class_strengths=[1.0, 1.0, 1.0])
    mixed = HeteroskedasticAdaptiveRegularizer(3, class_strengths=FACTORS)
    expected = torch.tensor([0.75 * 1.0 + 0.25 * 0.25, 0.4 * 0.25 + 0.6 * 0.5], dtype=torch.float64)
    output = network(image)
    found = mixed(view_of(output, label[0], targets))
    torch.testing.assert_close(found, expected * ones(view_of(output, label[0], targets)))


def test_a_loss_of_zero_slope_costs_nothing_and_has_a_finite_gradient():
    network = tiny_network("batch").float()
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    penalty = penalty_of(network, torch.randn(3, 1, 6, 6), torch.zeros(3, dtype=torch.int64))
    assert torch.equal(penalty, torch.zeros(3))
    penalty.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in network.parameters() if each.grad is not None)


def test_in_mixed_precision_norms_are_full(generator: torch.Generator):
    network = tiny_network("batch").float()
    network.enable_norm_outputs()
    image, label = sample(generator, size=8)
    regularizer = HeteroskedasticAdaptiveRegularizer(3, class_strengths=FACTORS)
    full = regularizer(view_of(network(image.float()), label))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(image.float())
        loss = F.cross_entropy(output.logits.float(), label, reduction="none")
        view = StepView(output, Targets.unmixed(label, label), loss, torch.ones(8), NOW)
        half = regularizer(view)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.2, atol=0.05)
    half.mean().backward()
    assert all(torch.isfinite(each.grad).all() for each in network.parameters() if each.grad is not None)


def test_with_strength_zero_it_asks_for_nothing_and_gives_zeros(make_network: Callable):
    off = HeteroskedasticAdaptiveRegularizer(3, strength=0.0, class_strengths=FACTORS)
    on = HeteroskedasticAdaptiveRegularizer(3, strength=0.1, class_strengths=FACTORS)
    assert (off.needs, on.needs) == (frozenset(), frozenset({"norm_outputs"}))
    output = make_network(num_classes=3)(torch.randn(2, 1, 8, 8))
    penalty = off(view_of(output, torch.tensor([0, 1])))
    assert torch.equal(penalty, torch.zeros(2)) and not penalty.requires_grad
    with pytest.raises(ValueError, match="enable_norm_outputs"):
        on(view_of(output, torch.tensor([0, 1])))


def test_factors_by_hand(agreement):
    """(1 - acc)^0.6 / n^0.4: 0.5^0.6 / 100^0.4 = 0.1045640; 0.1^0.6 / 10^0.4 = 0.1; the empty class does not count."""
    found = class_strengths_from([0.5, 0.9, 0.0], [100, 10, 0])
    assert found == pytest.approx([1.0, 0.1 / 0.1045640, 0.0], rel=1e-6)
    expected = [1.0, (0.1 / 0.5) ** 0.6 * (100 / 10) ** 0.4, 0.0]
    agreement(class_strengths_from, "factors of classes", found, expected, atol=1e-14)
    # Equally hard classes: only their sizes count, and 32 times the size is a quarter of the factor.
    assert class_strengths_from(None, [32, 1024]) == pytest.approx([1.0, 0.25])


def test_the_file_of_the_first_stage_is_read(tmp_path):
    path = tmp_path / "acc.json"
    path.write_text(json.dumps({"accuracy_per_class": [0.5, 0.9, 0.1], "accuracy": {"main": 0.5}}))
    assert read_class_accuracy(path) == [0.5, 0.9, 0.1]
    counts = (10, 20, 30)
    found = HeteroskedasticAdaptiveRegularizer(3, class_accuracy=str(path), class_counts=counts)
    listed = HeteroskedasticAdaptiveRegularizer(3, class_accuracy=[0.5, 0.9, 0.1], class_counts=counts)
    assert torch.equal(found.class_strength, listed.class_strength)
    assert found.class_strength.tolist() == pytest.approx(class_strengths_from([0.5, 0.9, 0.1], counts))
    assert found.state_dict() == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[0.5, 0.5, 0.5]", "no list 'accuracy_per_class'"),
        ('{"accuracy_per_class": "high"}', "no list"),
        ('{"accuracy_per_class": [0.5, 0.5]}', "3 values.*got 2"),
        ('{"accuracy_per_class": [0.5, null, 0.5]}', "class 1.*None"),
        ('{"accuracy_per_class": [0.5, 0.5, 1.5]}', r"class 2.*1\.5"),
        ('{"accuracy_per_class": [NaN, 0.5, 0.5]}', "class 0.*nan"),
        ('{"accuracy_per_class": [1, 1, 1]}', "nothing to regularize"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content: str, message: str):
    path = tmp_path / "acc.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        HeteroskedasticAdaptiveRegularizer(3, class_accuracy=str(path), class_counts=(1, 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_accuracy": "nowhere.json", "class_counts": (1, 1, 1)}, "'nowhere.json'.*alasca-evaluate"),
        ({}, "class_counts are not known"),
        ({"class_strengths": [1.0, 1.0]}, "3 values.*got 2"),
        ({"class_strengths": [1.0, -1.0, 1.0]}, r"class 1.*-1\.0"),
        ({"class_strengths": [1.0, 1.0, math.inf]}, "class 2.*inf"),
        ({"class_strengths": FACTORS, "class_accuracy": [0.1] * 3}, "one of the two"),
        ({"class_counts": (1, 1)}, "class_counts.*3 values.*got 2"),
        ({"class_strengths": FACTORS, "strength": -1.0}, r"strength.*-1\.0"),
    ],
)
def test_wrong_values_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        HeteroskedasticAdaptiveRegularizer(3, **options)
