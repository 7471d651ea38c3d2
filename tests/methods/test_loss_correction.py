"""Loss correction: worked values, loops, limits, the estimate, state."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.errors import UserError
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.loss_correction import LossCorrection
from alasca_pl.methods.transition import anchor_matrix, consensus_matrix, dual_t_matrix

LOGITS = torch.tensor([[2.0, 1.0, 0.0]] * 3, dtype=torch.float64)
EACH = Targets.unmixed(torch.arange(3), torch.arange(3))
SYMMETRIC = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
ASYMMETRIC = [[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.0, 0.2, 0.8]]
KINDS = ("forward", "backward", "reweight")


def at(epoch: int) -> Progress:
    return Progress(epoch, epoch * 5, 100, 5)


@pytest.mark.parametrize(
    ("correction", "matrix", "expected"),
    [
        ("forward", SYMMETRIC, [0.569747, 1.304493, 1.813874]),
        ("backward", SYMMETRIC, [-0.020965, 1.407606, 2.836177]),
        ("reweight", SYMMETRIC, [0.479355, 1.269696, 1.329630]),
        ("forward", ASYMMETRIC, [0.764281, 0.771526, 2.630750]),
        ("backward", ASYMMETRIC, [-0.020965, 1.407606, 2.657606]),
    ],
)
def test_worked_examples(correction, matrix, expected):
    assert LossCorrection(3, correction, matrix)(LOGITS, EACH, at(0)).tolist() == pytest.approx(expected, abs=1.1e-6)


@pytest.mark.parametrize("correction", KINDS)
def test_equals_loops_also_for_mixed_rows(correction: str, agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    loss = LossCorrection(3, correction, ASYMMETRIC)(logits, Targets(label, label, weight), at(0))
    # Solved by hand: the inverse of the matrix.
    inverse = [[1 / 0.7, -0.3 / 0.7, 0.0], [0.0, 1.0, 0.0], [0.0, -0.25, 1.25]]
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        p = [power / sum(powers) for power in powers]
        noisy = [sum(p[i] * ASYMMETRIC[i][j] for i in range(3)) for j in range(3)]
        costs = {
            "forward": [-math.log(n) for n in noisy],
            "backward": [sum(inverse[y][k] * -math.log(p[k]) for k in range(3)) for y in range(3)],
            "reweight": [p[y] / noisy[y] * -math.log(p[y]) for y in range(3)],
        }[correction]
        expected.append(sum(weight[v, b].item() * costs[int(label[v, b])] for v in range(2)))
    agreement(LossCorrection, f"{correction} loss", loss, expected, atol=1e-10)


def test_backward_is_unbiased():
    losses = LossCorrection(3, "backward", ASYMMETRIC)(LOGITS, EACH, at(0))
    expected = F.cross_entropy(LOGITS, EACH.label[0], reduction="none")
    torch.testing.assert_close(torch.tensor(ASYMMETRIC, dtype=torch.float64) @ losses, expected)


def test_backward_rewards_no_probability_below_1e_7_any_more():
    logits = (1e4 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    losses = LossCorrection(3, "backward", SYMMETRIC)(logits, EACH, at(0))
    # The inverse has -1/7 off the diagonal, and only the class of the label is left.
    assert losses.tolist() == pytest.approx([2 / 7 * math.log(1e-7)] * 3)
    losses.sum().backward()
    assert not logits.grad.any()


def test_the_weight_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    LossCorrection(3, "reweight", SYMMETRIC)(logits, EACH, at(0))[1].backward()
    p = LOGITS[1].softmax(0)
    expected = 0.902025 * (p - torch.tensor([0.0, 1.0, 0.0]))
    assert logits.grad[1].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("correction", KINDS)
def test_the_identity_and_no_estimate_give_cross_entropy(correction: str, generator: torch.Generator):
    logits, label = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    targets = Targets.unmixed(label, torch.arange(6))
    expected = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(LossCorrection(4, correction, torch.eye(4).tolist())(logits, targets, at(0)), expected)
    assert torch.equal(LossCorrection(4, correction)(logits, targets, at(50)), expected)


def test_a_matrix_that_tells_nothing_leaves_a_constant_without_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss = LossCorrection(3, "forward", [[1 / 3] * 3] * 3)(logits, EACH, at(0))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(3)] * 3)
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("correction", KINDS)
def test_certain_predictions_keep_a_finite_gradient(correction: str):
    logits = torch.tensor([[1e4, 0.0, -1e4]] * 3, requires_grad=True)
    loss = LossCorrection(3, correction, ASYMMETRIC)(logits, EACH, at(0))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()


def scan(generator: torch.Generator) -> ScanResult:
    probs = torch.randn(1, 60, 3, generator=generator).mul(2).softmax(2)
    return ScanResult(torch.randint(3, (60,), generator=generator), probs=probs)


@pytest.mark.parametrize("estimator", ["anchor", "dual_t"])
def test_an_estimate_is_made_once_and_used_from_then_on(estimator: str, agreement, generator: torch.Generator, caplog):
    caplog.set_level(logging.INFO, "alasca_pl")
    criterion, result = LossCorrection(3, estimator=estimator, estimate_epoch=3), scan(generator)
    assert criterion.scan_request(at(2)) is None
    assert criterion.scan_request(at(3)) == ScanRequest(probs=True)
    criterion.receive_scan(result, at(3))
    assert caplog.messages[0].startswith("estimated before epoch 4 that")
    assert criterion.scan_request(at(3)) is None
    probs, label = result.probs[0].double().numpy(), result.label.numpy()
    expected = dual_t_matrix(probs, label) if estimator == "dual_t" else anchor_matrix(probs)
    agreement(LossCorrection, f"{estimator} estimate", criterion.matrix, expected, atol=0)
    assert criterion.scan_request(at(4)) is None
    given = LossCorrection(3, matrix=expected.tolist())
    torch.testing.assert_close(criterion(LOGITS, EACH, at(4)), given(LOGITS, EACH, at(4)))


def test_a_consensus_is_made_from_features():
    criterion = LossCorrection(3, estimator="consensus", estimate_epoch=3)
    assert criterion.scan_request(at(3)) == ScanRequest(features=True)
    true = torch.arange(600) % 3
    label = torch.where(torch.arange(600) % 5 == 0, (true + 1) % 3, true)
    features = F.one_hot(true, 3) + 0.1 * torch.rand(1, 600, 3, generator=torch.Generator().manual_seed(0))
    criterion.receive_scan(ScanResult(label, features=features), at(3))
    expected = consensus_matrix(features[0].numpy(), label.numpy(), 3).matrix
    assert criterion.matrix.dtype == torch.float64
    assert criterion.matrix.numpy() == pytest.approx(expected, abs=1e-6)
    assert criterion.matrix.diagonal().tolist() == pytest.approx([0.8] * 3, abs=0.08)


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_saved_and_loaded_it_keeps_its_estimate(correction: str, generator: torch.Generator):
    criterion, other = (LossCorrection(3, correction, percentile=None) for _ in range(2))
    other.load_state_dict(criterion.state_dict())
    assert other.matrix is None
    criterion.receive_scan(scan(generator), at(20))
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(other(LOGITS, EACH, at(21)), criterion(LOGITS, EACH, at(21)))
    assert other.scan_request(at(21)) is None


def test_an_ill_conditioned_matrix_is_not_inverted():
    nearly = [[0.5, 0.5, 0.0], [0.4999, 0.5001, 0.0], [0.0, 0.0, 1.0]]
    LossCorrection(3, "forward", nearly)
    with pytest.raises(UserError, match=r"condition number.*criterion\.correction=forward"):
        LossCorrection(3, "backward", nearly)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correction": "sideways"}, "correction.*'sideways'.*reweight"),
        ({"estimator": "hoc_"}, "estimator.*'hoc_'.*anchor"),
        ({"percentile": 0.0}, "percentile.*0.0"),
        ({"estimate_epoch": -1}, "estimate_epoch.*-1"),
        ({"matrix": "oracle"}, "'oracle'.*estimated"),
        ({"matrix": [[1.0, 0.0], [0.0, 1.0]]}, r"3 rows.*\(2, 2\)"),
        ({"matrix": [[0.5, 0.4, 0.0], [0, 1, 0], [0, 0, 1]]}, "row of matrix"),
    ],
)
def test_wrong_values_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        LossCorrection(3, **options)
