"""SOP: worked values, the moves of its rows in closed form, growth, loops, SOP+, limits, state."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.sop import SparseOverParameterization

NOW = Progress(0, 0, 10, 5)
LOGITS = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
ROW = [0.5, 0.3, 0.9, 0.2]


def with_rows(rows: list[list[float]], **options: object) -> SparseOverParameterization:
    criterion = SparseOverParameterization(len(rows), len(rows[0]) - 1, **options)
    criterion.noise.fill(torch.tensor(rows))
    return criterion


def one(label: int) -> Targets:
    return Targets.unmixed(torch.tensor([label]), torch.tensor([0]))


def moves(criterion: SparseOverParameterization, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Negative slopes of rows whose rates are those of the batch size."""
    before = criterion.noise.rows.clone()
    criterion(logits, targets, NOW)
    criterion.settle()
    return before - criterion.noise.rows


@pytest.mark.parametrize(
    ("label", "entropy", "error", "logits", "rows"),
    [
        (1, 0.817075, 1.392200, [0.329076, -0.373612, 0.044536], [-2.628454, -1.092, 0.0, 0.032]),
        (0, 0.053326, 0.720200, [-0.074676, -0.013586, 0.088262], [0.443262, 0.0, 2.916, 0.032]),
    ],
)
def test_worked_examples(label, entropy, error, logits, rows):
    criterion = with_rows([ROW], lr_u=128.0, lr_v=128.0)
    given = LOGITS.clone().requires_grad_()
    loss = criterion(given, one(label), NOW)
    loss.sum().backward()
    terms = criterion.terms(LOGITS.softmax(1), one(label).label, torch.tensor([[ROW]], dtype=torch.float64))
    assert (terms[0].item(), terms[1].item()) == pytest.approx((entropy, error), abs=1.1e-6)
    assert loss.item() == pytest.approx(entropy, abs=1.1e-6)
    assert given.grad[0].tolist() == pytest.approx(logits, abs=1.1e-6)
    assert moves(with_rows([ROW], lr_u=128.0, lr_v=128.0), LOGITS, one(label))[0].tolist() == pytest.approx(
        rows, abs=2e-6
    )


def test_probabilities_with_noise():
    _, _, shifted = with_rows([ROW]).terms(LOGITS.softmax(1), one(1).label, torch.tensor([[ROW]], dtype=torch.float64))
    assert shifted[0, 0].tolist() == pytest.approx([0.513608, 0.441722, 0.044670], abs=1.1e-6)


def test_rows_move_by_the_closed_form_also_where_labels_are_mixed(agreement, generator: torch.Generator):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    label, index = torch.tensor([[0, 3, 1], [2, 2, 1]]), torch.tensor([[4, 1, 2], [0, 3, 5]])
    weight = torch.tensor([[0.8, 0.5, 1.0], [0.2, 0.5, 0.0]], dtype=torch.float64)
    rows = 0.3 + 0.4 * torch.rand(6, 5, generator=generator)
    criterion = with_rows(rows.tolist(), lr_u=3.0, lr_v=7.0)
    found = moves(criterion, logits, Targets(label, index, weight))
    expected = torch.zeros(6, 5, dtype=torch.float64)
    for b in range(3):
        powers = [math.exp(z) for z in logits[b].tolist()]
        p = [power / sum(powers) for power in powers]
        best = p.index(max(p))
        for v in range(2):
            y, i, w = int(label[v, b]), int(index[v, b]), weight[v, b].item()
            u, noise = rows[i, 0].item(), rows[i, 1:].tolist()
            mass = [max(p[k] + u * u if k == y else p[k] - noise[k] ** 2, 1e-4) for k in range(4)]
            of_entropy = 2 * u * (1 / sum(mass) - 1 / mass[y])
            of_error = 4 * u * ((best == y) + u * u - 1)
            expected[i, 0] += 3 / 128 * w * (of_entropy + of_error)
            for k in range(4):
                if k != y:
                    expected[i, 1 + k] += 7 / 128 * w * -4 * noise[k] * ((best == k) - noise[k] ** 2)
    agreement(SparseOverParameterization, "moves of rows in float32", found, expected, atol=5e-7)


def test_growth_from_the_start():
    criterion = with_rows([[1e-8] * 4])
    rows = []
    for _ in range(30):
        moves(criterion, LOGITS, one(1))
        rows.append(criterion.noise.rows[0].tolist())
    assert [row[0] for row in rows[:2]] == pytest.approx([1.794713e-8, 3.220994e-8], rel=1e-5)
    assert [row[1] for row in rows[:2]] == pytest.approx([1.3125e-8, 1.722656e-8], rel=1e-5)
    assert rows[29][0] == pytest.approx(0.376006, abs=2e-5)


def test_loss_equals_loops_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    label, index = torch.tensor([[0, 3, 1], [2, 2, 1]]), torch.tensor([[4, 1, 2], [0, 3, 5]])
    weight = torch.tensor([[0.8, 0.5, 1.0], [0.2, 0.5, 0.0]], dtype=torch.float64)
    rows = torch.rand(6, 5, generator=generator)
    loss = with_rows(rows.tolist())(logits, Targets(label, index, weight), NOW)
    expected = []
    for b in range(3):
        p = logits[b].softmax(0).tolist()
        total = 0.0
        for v in range(2):
            y, row = int(label[v, b]), rows[index[v, b]].tolist()
            mass = [max(p[k] + row[0] ** 2 if k == y else p[k] - row[1 + k] ** 2, 1e-4) for k in range(4)]
            total -= weight[v, b].item() * math.log(mass[y] / sum(mass))
        expected.append(total)
    agreement(SparseOverParameterization, "loss with its table in float32", loss, expected, atol=2e-6)


def test_without_noise_it_is_cross_entropy_and_moves_nothing(generator: torch.Generator):
    logits, label = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    targets = Targets.unmixed(label, torch.arange(4))
    criterion = with_rows([[0.0] * 4] * 4)
    torch.testing.assert_close(criterion(logits, targets, NOW), F.cross_entropy(logits, label, reduction="none"))
    criterion.settle()
    assert not criterion.noise.rows.any()
    still = SparseOverParameterization(4, 3, lr_u=0.0, lr_v=0.0)
    assert not moves(still, logits, targets).any()


def test_only_rows_of_the_batch_move_and_the_sign_of_u_does_not_matter(generator: torch.Generator):
    rows = (0.1 + torch.rand(5, 4, generator=generator)).tolist()
    logits, targets = (
        torch.randn(2, 3, generator=generator),
        Targets.unmixed(torch.tensor([2, 0]), torch.tensor([3, 1])),
    )
    found = moves(with_rows(rows), logits, targets)
    assert found.abs().sum(dim=1).gt(0).tolist() == [False, True, False, True, False]
    mirrored = moves(with_rows([[-row[0], *row[1:]] for row in rows]), logits, targets)
    torch.testing.assert_close(mirrored[:, 0], -found[:, 0])
    torch.testing.assert_close(mirrored[:, 1:], found[:, 1:])


def test_a_sample_that_occurs_twice_moves_by_both():
    rows = [ROW, ROW]
    once = moves(with_rows(rows), LOGITS, one(1))
    twice = moves(with_rows(rows), LOGITS.repeat(2, 1), Targets.unmixed(torch.tensor([1, 1]), torch.tensor([0, 0])))
    torch.testing.assert_close(twice, 2 * once)


def test_rows_move_when_they_settle_and_once():
    criterion = with_rows([ROW])
    before = criterion.noise.rows.clone()
    criterion(LOGITS, one(1), NOW)
    assert torch.equal(criterion.noise.rows, before)
    criterion.settle()
    after = criterion.noise.rows.clone()
    criterion.settle()
    assert torch.equal(criterion.noise.rows, after) and not torch.equal(after, before)


def test_u_may_follow_cross_entropy_alone():
    criterion = with_rows([ROW], lr_u=128.0, lr_v=128.0, u_follows_error=False)
    assert moves(criterion, LOGITS, one(1))[0].tolist() == pytest.approx([-1.128454, -1.092, 0.0, 0.032], abs=2e-6)


def test_consistency_is_the_divergence_from_the_first_view():
    criterion = with_rows([[0.0] * 4], strength_consistency=0.5)
    assert criterion.others == "views"
    first, second = (each.requires_grad_() for each in (LOGITS.clone(), torch.tensor([[1.0, 1.0, 0.0]]).double()))
    loss = criterion(first, one(0), NOW, (second,)) - criterion(first, one(0), NOW)
    assert loss.item() == pytest.approx(0.5 * 0.119630, abs=1e-6)
    loss.backward()
    assert second.grad.any() and first.grad.abs().max() < 1e-12


def test_balance_is_a_penalty_on_the_mean_prediction(agreement, generator: torch.Generator):
    """Value, and moves of rows by finite differences of the batch's mean loss."""
    assert (with_rows([[0.0] * 4], strength_balance=1.0)(LOGITS, one(0), NOW) - 0.407606).item() == pytest.approx(
        1.407606, abs=2e-6
    )
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    label = torch.tensor([0, 3, 3])
    targets = Targets.unmixed(label, torch.arange(3))
    rows = 0.3 + 0.4 * torch.rand(3, 5, generator=generator)
    with_, without = (
        moves(with_rows(rows.tolist(), lr_u=128.0, strength_balance=each), logits, targets)[:, 0] for each in (0.7, 0.0)
    )

    def balance(values: torch.Tensor) -> float:
        _, _, shifted = with_rows(rows.tolist()).terms(logits.softmax(1), targets.label, values.double().unsqueeze(0))
        return -shifted[0].mean(dim=0).log().mean().item()

    slopes = []
    for i in range(3):
        change = torch.zeros(3, 5, dtype=torch.float64)
        change[i, 0] = 1e-6
        slopes.append(0.7 * 3 * (balance(rows.double() + change) - balance(rows.double() - change)) / 2e-6)
    agreement(SparseOverParameterization, "moves by the balance in float32", with_ - without, slopes, atol=2e-6)


def test_confidence_falls_as_the_noise_term_rises():
    assert with_rows([[0.5, 0, 0], [-2.0, 0, 0]]).confidence(torch.tensor([0, 1])).tolist() == [0.75, 0.0]


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    criterion, other = with_rows([ROW]), SparseOverParameterization(1, 3)
    moves(criterion, LOGITS, one(1))
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(moves(criterion, LOGITS, one(1)), moves(other, LOGITS, one(1)))


def test_the_start_is_small_and_depends_on_the_seed():
    rows = [SparseOverParameterization(500, 4, seed=seed).noise.rows for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])
    assert rows[0].std().item() == pytest.approx(1e-8, rel=0.1)


@pytest.mark.parametrize("name", ["lr_u", "lr_v", "strength_consistency", "strength_balance"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_value_outside_its_range_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        SparseOverParameterization(2, 3, **{name: value})
