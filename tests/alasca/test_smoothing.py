"""The smoothed loss in its three readings, against explicit loops and identities."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.alasca.smoothing import check_target, smoothed_loss

TARGETS = ("others", "uniform", "paper_omega")


def omega(logits: torch.Tensor) -> torch.Tensor:
    """The regularizer of the paper's Eq. 1, to which the loss as printed comes where nothing of the label is left."""
    label = torch.zeros(1, len(logits), dtype=torch.int64)
    return smoothed_loss(logits, label, torch.ones(1, len(logits), dtype=logits.dtype), "paper_omega")[0]


def by_hand(logits: list[float], label: int, smoothing: float, target: str) -> float:
    """The loss of one sample as a sum over classes of mass times -log p."""
    log_sum = math.log(sum(math.exp(value) for value in logits))
    costs = [log_sum - value for value in logits]
    spread = {"others": len(logits) - 1, "uniform": len(logits), "paper_omega": 1}[target]
    total = (1 - smoothing) * costs[label]
    for number, cost in enumerate(costs):
        if target != "others" or number != label:
            total += smoothing / spread * cost
    return total


@pytest.mark.parametrize(
    ("target", "expected"), [("others", 0.857606), ("uniform", 0.707606), ("paper_omega", 1.552170)]
)
def test_worked_example(target: str, expected: float):
    # -log p = [0.407606, 1.407606, 2.407606]; others: 0.7 * 0.407606 + 0.15 * (1.407606 + 2.407606).
    loss = smoothed_loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0]]), torch.tensor([[0.3]]), target)
    assert loss.item() == pytest.approx(expected, abs=2e-6)


def test_omega_of_the_worked_example():
    assert omega(torch.tensor([[2.0, 1.0, 0.0]])).item() == pytest.approx(4.222818, abs=2e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_equals_loops_over_samples_and_classes(target: str, agreement, generator: torch.Generator):
    logits = 3 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (2, 5), generator=generator)
    smoothing = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    loss = smoothed_loss(logits, label, smoothing, target)
    expected = [
        [by_hand(logits[b].tolist(), int(label[v, b]), float(smoothing[v, b]), target) for b in range(5)]
        for v in range(2)
    ]
    agreement(smoothed_loss, f"smoothed loss, target {target}", loss, expected, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_without_smoothing_it_is_cross_entropy(target: str, generator: torch.Generator):
    logits, label = torch.randn(7, 4, generator=generator), torch.randint(4, (7,), generator=generator)
    loss = smoothed_loss(logits, label.unsqueeze(0), torch.zeros(1, 7), target)
    torch.testing.assert_close(loss[0], F.cross_entropy(logits, label, reduction="none"))


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_uniform_is_cross_entropy_against_the_smoothed_label(smoothing: float, generator: torch.Generator):
    """CE(f, y_LS) = (1 - a) CE(f, y) + a / K Omega(f), with y_LS built explicitly."""
    logits, label = torch.randn(6, 5, generator=generator), torch.randint(5, (6,), generator=generator)
    smoothed = torch.full((6, 5), smoothing / 5)
    for b in range(6):
        smoothed[b, label[b]] += 1 - smoothing
    explicit = -(smoothed * torch.log_softmax(logits, 1)).sum(1)
    identity = (1 - smoothing) * F.cross_entropy(logits, label, reduction="none") + smoothing / 5 * omega(logits)
    loss = smoothed_loss(logits, label.unsqueeze(0), torch.full((1, 6), smoothing), "uniform")[0]
    torch.testing.assert_close(loss, explicit)
    torch.testing.assert_close(loss, identity)


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 0.6])
def test_others_is_uniform_with_a_larger_amount(smoothing: float, generator: torch.Generator):
    num_classes = 5
    logits, label = torch.randn(6, num_classes, generator=generator), torch.randint(5, (1, 6), generator=generator)
    larger = smoothing * num_classes / (num_classes - 1)
    torch.testing.assert_close(
        smoothed_loss(logits, label, torch.full((1, 6), smoothing), "others"),
        smoothed_loss(logits, label, torch.full((1, 6), larger), "uniform"),
    )


def test_fully_smoothed_others_gives_the_label_no_mass_and_uniform_ignores_it(generator: torch.Generator):
    logits = torch.randn(1, 4, generator=generator).repeat(4, 1)
    label, ones = torch.arange(4).unsqueeze(0), torch.ones(1, 4)
    costs = -torch.log_softmax(logits[0], 0)
    for y, loss in enumerate(smoothed_loss(logits, label, ones, "others")[0]):
        assert loss.item() == pytest.approx(float(sum(costs[k] for k in range(4) if k != y)) / 3, rel=1e-5)
    uniform = smoothed_loss(logits, label, ones, "uniform")[0]
    torch.testing.assert_close(uniform, (omega(logits[:1]) / 4).expand(4))


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_omega_is_least_where_all_logits_are_equal(num_classes: int, generator: torch.Generator):
    bound = num_classes * math.log(num_classes)
    equal = omega(torch.full((1, num_classes), 3.0, dtype=torch.float64))
    assert equal.item() == pytest.approx(bound, rel=1e-12)
    others = omega(torch.randn(50, num_classes, generator=generator, dtype=torch.float64))
    assert (others > bound + 1e-6).all()


def test_omega_is_the_printed_formula(generator: torch.Generator):
    logits = torch.randn(4, 6, generator=generator)
    for row, value in zip(logits.tolist(), omega(logits).tolist()):
        expected = 6 * math.log(sum(math.exp(z) for z in row)) - sum(row)
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shift", [-40.0, 7.0])
def test_adding_a_constant_to_all_logits_changes_nothing(shift: float, generator: torch.Generator):
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    label, smoothing = torch.randint(4, (1, 5), generator=generator), torch.rand(1, 5, generator=generator)
    torch.testing.assert_close(omega(logits + shift), omega(logits))
    for target in TARGETS:
        torch.testing.assert_close(
            smoothed_loss(logits + shift, label, smoothing, target), smoothed_loss(logits, label, smoothing, target)
        )


@pytest.mark.parametrize("target", TARGETS)
def test_gradient_is_total_mass_times_prediction_minus_mass(target: str, agreement, generator: torch.Generator):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    label, smoothing = torch.tensor([[2, 0, 3]]), torch.tensor([[0.4, 0.9, 0.0]], dtype=torch.float64)
    smoothed_loss(logits, label, smoothing, target).sum().backward()
    probs, expected = logits.detach().softmax(1), []
    for b in range(3):
        y, a = int(label[0, b]), float(smoothing[0, b])
        spread = {"others": 3, "uniform": 4, "paper_omega": 1}[target]
        mass = [(1 - a if k == y else 0) + (0 if target == "others" and k == y else a / spread) for k in range(4)]
        expected.append([sum(mass) * probs[b, k].item() - mass[k] for k in range(4)])
    agreement(smoothed_loss, f"gradient, target {target}", logits.grad, expected, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_widened_first(dtype: torch.dtype):
    logits = torch.tensor([[2.0, 1.0, 0.0]], dtype=dtype)
    loss = smoothed_loss(logits, torch.tensor([[0]]), torch.tensor([[0.3]]), "others")
    assert loss.dtype == omega(logits).dtype == torch.float32
    assert loss.item() == pytest.approx(0.857606, abs=2e-6)


@pytest.mark.parametrize(
    "call",
    [
        check_target,
        lambda name: smoothed_loss(torch.zeros(1, 2), torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1), name),
    ],
)
def test_an_unknown_target_is_named_with_the_choices(call):
    with pytest.raises(ValueError, match=r"'othres'.*others, uniform, paper_omega"):
        call("othres")
