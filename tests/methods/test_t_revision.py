"""T-revision: its stages, loops, the gradient of the correction, limits, state."""

import math

import pytest
import torch
import torch.nn.functional as F

from alasca_pl.core.scan import ScanResult
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.loss_correction import LossCorrection
from alasca_pl.methods.t_revision import TransitionRevision

MATRIX = [[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.0, 0.2, 0.8]]
LABEL = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
WEIGHT = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
MIXED = Targets(LABEL, LABEL, WEIGHT)


def at(epoch: int) -> Progress:
    return Progress(epoch, epoch * 5, 100, 5)


def estimated(**options: object) -> TransitionRevision:
    """With an estimate that is ``MATRIX``: its rows are the predictions for three samples."""
    criterion = TransitionRevision(3, revise_epoch=30, percentile=None, **options)
    criterion.receive_scan(ScanResult(torch.arange(3), probs=torch.tensor([MATRIX])), at(20))
    return criterion


def test_the_stages(generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    expected = -(WEIGHT * F.log_softmax(logits, 1).gather(1, LABEL.T).T).sum(0)
    torch.testing.assert_close(TransitionRevision(3, revise_epoch=30)(logits, MIXED, at(40)), expected)
    criterion = estimated()
    reweighted = LossCorrection(3, "reweight", criterion.matrix.tolist())(logits, MIXED, at(0))
    torch.testing.assert_close(criterion(logits, MIXED, at(29)), reweighted)
    # Without a correction the value stays.
    torch.testing.assert_close(criterion(logits, MIXED, at(30)), reweighted)


def test_revised_losses_equal_loops_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    criterion = estimated().double()
    criterion.revision.data = 0.05 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    matrix = (criterion.matrix + criterion.revision).tolist()
    expected = []
    for b in range(4):
        powers = [math.exp(z) for z in logits[b].tolist()]
        p = [power / sum(powers) for power in powers]
        costs = [p[y] / sum(p[i] * matrix[i][y] for i in range(3)) * -math.log(p[y]) for y in range(3)]
        expected.append(sum(WEIGHT[v, b].item() * costs[int(LABEL[v, b])] for v in range(2)))
    loss = criterion(logits, MIXED, at(30))
    agreement(TransitionRevision, "revised loss", loss, expected, atol=1e-10)


def test_the_correction_learns_at_the_end_only_and_once_per_sample(agreement, generator: torch.Generator):
    """Its gradient equals finite differences, so that each sample adds it once."""
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    criterion = estimated().double()
    criterion(logits, MIXED, at(29)).mean().backward()
    assert criterion.revision.grad is not None and not criterion.revision.grad.any()
    criterion.revision.grad = None
    criterion(logits, MIXED, at(30)).mean().backward()
    slopes = torch.zeros(3, 3, dtype=torch.float64)
    with torch.no_grad():
        for place in range(9):
            values = []
            for change in (1e-6, -1e-6):
                criterion.revision.view(-1)[place] += change
                values.append(criterion(logits, MIXED, at(30)).mean().item())
                criterion.revision.view(-1)[place] -= change
            slopes.view(-1)[place] = (values[0] - values[1]) / 2e-6
    agreement(TransitionRevision, "gradient of the correction", criterion.revision.grad, slopes, atol=1e-8)
    assert slopes.any()


def test_the_weight_has_a_gradient_at_the_end_only(generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    early, late = (torch.autograd.grad(estimated()(logits, MIXED, at(epoch)).sum(), logits)[0] for epoch in (29, 30))
    assert (early - late).abs().max() > 1e-3


def test_certain_predictions_and_a_negative_entry_keep_a_finite_gradient():
    criterion = estimated()
    criterion.revision.data -= 0.5
    logits = torch.tensor([[1e4, 0.0, -1e4]] * 3, requires_grad=True)
    loss = criterion(logits, Targets.unmixed(torch.arange(3), torch.arange(3)), at(30))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    assert torch.isfinite(criterion.revision.grad).all()


def test_saved_and_loaded_it_keeps_estimate_and_correction(generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    criterion, other = estimated(), TransitionRevision(3, revise_epoch=30)
    criterion.revision.data += 0.01
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(criterion(logits, MIXED, at(30)), other(logits, MIXED, at(30)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revise_epoch": 10}, "revise_epoch.*20.*10"),
        ({"lr": -1.0}, "lr.*-1.0"),
        ({"estimator": "x"}, "estimator.*'x'"),
    ],
)
def test_a_value_outside_its_range_is_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TransitionRevision(3, **options)
