"""Self-distillation: both variants by loops, limits, where gradients go."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
from alasca_pl.methods import self_distillation
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.self_distillation import SelfDistillation

NOW = Progress(0, 0, 10, 5)


def make_output(generator: torch.Generator, size: int = 3, heads: int = 2, width: int = 5) -> NetworkOutput:
    def draw(columns: int) -> Tensor:
        return torch.randn(size, columns, generator=generator, dtype=torch.float64).requires_grad_()

    return NetworkOutput(
        draw(4),
        tuple(draw(4) for _ in range(heads)),
        draw(width),
        aux_features=tuple(draw(width) for _ in range(heads)),
    )


def view_of(output: NetworkOutput, targets: Targets) -> StepView:
    loss = CrossEntropy()(output.logits, targets, NOW)
    return StepView(output, targets, loss, torch.ones_like(loss), NOW)


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def expected(output: NetworkOutput, targets: Targets, a: float, b: float, temperature: float, variant: str) -> float:
    """The losses of the auxiliary classifiers as sums over batch, classes and units, in plain Python."""
    size = len(output.logits)
    ce, kd, fd = 0.0, 0.0, 0.0
    for logits, features in zip(output.aux_logits, output.aux_features):
        for i in range(size):
            probs = softmax(logits[i].tolist())
            for v in range(len(targets.label)):
                ce -= targets.weight[v, i].item() * math.log(probs[targets.label[v, i]]) / size
            teacher = softmax(output.logits[i].tolist(), temperature)
            student = softmax(logits[i].tolist(), temperature)
            kd -= sum(p * math.log(q) for p, q in zip(teacher, student)) / size
            for mine, main in zip(features[i].tolist(), output.features[i].tolist()):
                if mine > 0 or main > 0:
                    fd += (mine - main) ** 2
    if variant == "by":
        return (1 - a) * ce + a * temperature**2 * kd + b * fd
    return a * kd + b * fd


@pytest.mark.parametrize("variant", ["by", "al"])
@pytest.mark.parametrize("mixed", [False, True])
def test_equals_loops(variant: str, mixed: bool, agreement, generator: torch.Generator):
    output = make_output(generator)
    targets = Targets.unmixed(torch.tensor([0, 3, 2]), torch.arange(3))
    if mixed:
        label = torch.tensor([[0, 3, 2], [1, 1, 0]])
        weight = torch.tensor([[0.75, 0.5, 1.0], [0.25, 0.5, 0.0]], dtype=torch.float64)
        targets = Targets(label, torch.zeros_like(label), weight)
    regularizer = SelfDistillation(0.3, 0.01, 2.5, variant)
    found = regularizer(view_of(output, targets))
    assert found.shape == (3,)
    whole = expected(output, targets, 0.3, 0.01, 2.5, variant)
    agreement(SelfDistillation, f"penalty, variant {variant}", found.mean(), whole, atol=1e-12)


def test_with_the_scaled_criterion_it_is_the_authors_loss(agreement, generator: torch.Generator):
    output = make_output(generator)
    targets = Targets.unmixed(torch.tensor([0, 3, 2]), torch.arange(3))
    main = F.cross_entropy(output.logits, targets.label[0]).item()
    total = CrossEntropy(scale=0.9)(output.logits, targets, NOW).mean()
    total = total + SelfDistillation()(view_of(output, targets)).mean()
    whole = 0.9 * main + expected(output, targets, 0.1, 1e-6, 3.0, "by")
    agreement(SelfDistillation, "whole loss of the authors' code", total, whole, atol=1e-12)


def test_without_distillation_it_is_cross_entropy_of_the_heads(generator: torch.Generator):
    output = make_output(generator)
    label = torch.tensor([0, 3, 2])
    found = SelfDistillation(0.0, 0.0)(view_of(output, Targets.unmixed(label, label)))
    expected = sum(F.cross_entropy(logits, label, reduction="none") for logits in output.aux_logits)
    torch.testing.assert_close(found, expected)


def test_labels_do_not_matter_when_all_weight_is_on_distillation(generator: torch.Generator):
    output = make_output(generator)
    one, other = (
        SelfDistillation(1.0, 0.0, 2.0)(view_of(output, Targets.unmixed(torch.full((3,), k), torch.arange(3))))
        for k in (0, 1)
    )
    torch.testing.assert_close(one, other)


def test_a_high_temperature_makes_the_distillation_that_of_uniform_predictions(generator: torch.Generator):
    output = make_output(generator)
    targets = Targets.unmixed(torch.zeros(3, dtype=torch.int64), torch.arange(3))
    found = SelfDistillation(1.0, 0.0, 1e9, "al")(view_of(output, targets))
    torch.testing.assert_close(found, torch.full((3,), 2 * math.log(4), dtype=torch.float64))


def test_only_the_heads_learn_from_the_main_head(generator: torch.Generator):
    output = make_output(generator)
    SelfDistillation(0.5, 0.1)(
        view_of(output, Targets.unmixed(torch.tensor([0, 3, 2]), torch.arange(3)))
    ).sum().backward()
    assert output.logits.grad is None and output.features.grad is None
    assert all(each.grad.any() for each in (*output.aux_logits, *output.aux_features))


def test_features_that_are_both_not_positive_do_not_matter():
    def output_with(values: list[float]) -> NetworkOutput:
        logits = torch.zeros(1, 2)
        return NetworkOutput(logits, (logits,), torch.tensor([[-1.0, 2.0]]), aux_features=(torch.tensor([values]),))

    targets = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))
    regularizer = SelfDistillation(0.0, 1.0, variant="al")
    # Second unit: (0 - 2)^2 counts, as the main head's is positive; the first counts only once it is positive.
    found = [regularizer(view_of(output_with([value, 0.0]), targets)).item() for value in (-3.0, 0.0, 1.0)]
    assert found == pytest.approx([4.0, 4.0, 8.0])


def test_parts_of_a_batch_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator):
    output = make_output(generator)
    label = torch.tensor([0, 3, 2])
    whole = SelfDistillation(0.1, 0.1)(view_of(output, Targets.unmixed(label, label)))
    monkeypatch.setattr(self_distillation, "sum_ranks", lambda count: count + (3 - count))
    part = NetworkOutput(
        output.logits[:1],
        tuple(each[:1] for each in output.aux_logits),
        output.features[:1],
        aux_features=tuple(each[:1] for each in output.aux_features),
    )
    torch.testing.assert_close(
        SelfDistillation(0.1, 0.1)(view_of(part, Targets.unmixed(label[:1], label[:1]))), whole[:1]
    )


def test_it_asks_for_heads_and_refuses_other_widths(generator: torch.Generator):
    assert SelfDistillation().needs == {"aux_logits", "aux_features"}
    output = make_output(generator)._replace(features=torch.zeros(3, 7))
    with pytest.raises(ValueError, match=r"width 5.* 7; .*aux\.width=null"):
        SelfDistillation()(view_of(output, Targets.unmixed(torch.tensor([0, 3, 2]), torch.arange(3))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distillation_weight": 1.5}, r"distillation_weight.*1\.5"),
        ({"distillation_weight": -0.1}, r"distillation_weight.*-0\.1"),
        ({"feature_weight": -1.0}, r"feature_weight.*-1\.0"),
        ({"temperature": 0.0}, r"temperature.*0\.0"),
        ({"variant": "xx"}, "'xx'.*by, al"),
        ({"strength": -1.0}, r"strength.*-1\.0"),
    ],
)
def test_wrong_values_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SelfDistillation(**options)
