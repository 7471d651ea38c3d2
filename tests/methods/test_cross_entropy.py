"""Cross-entropy against explicit loops."""

import math

import pytest
import torch

from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy

NOW = Progress(0, 0, 10, 5)


def test_worked_example():
    targets = Targets.unmixed(torch.tensor([0, 1, 2]), torch.arange(3))
    loss = CrossEntropy()(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64).expand(3, 3), targets, NOW)
    assert loss.tolist() == pytest.approx([0.407606, 1.407606, 2.407606], abs=5e-7)


def test_equals_loops_also_for_mixed_rows(agreement, generator: torch.Generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    weight = torch.tensor([[0.8, 0.5, 1.0, 0.3], [0.2, 0.5, 0.0, 0.7]], dtype=torch.float64)
    loss = CrossEntropy()(logits, Targets(label, torch.zeros_like(label), weight), NOW)
    expected = []
    for b in range(4):
        log_sum = math.log(sum(math.exp(z) for z in logits[b].tolist()))
        expected.append(sum(weight[v, b].item() * (log_sum - logits[b, label[v, b]].item()) for v in range(2)))
    agreement(CrossEntropy, "loss", loss, expected, atol=1e-12)


def test_gradient_is_prediction_minus_label(agreement, generator: torch.Generator):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([3, 0, 2])
    CrossEntropy()(logits, Targets.unmixed(label, torch.arange(3)), NOW).sum().backward()
    expected = logits.detach().softmax(1)
    for b in range(3):
        expected[b, label[b]] -= 1
    agreement(CrossEntropy, "gradient", logits.grad, expected, atol=1e-14)


def test_confidently_wrong_half_precision_stays_finite():
    targets = Targets.unmixed(torch.tensor([1]), torch.tensor([0]))
    loss = CrossEntropy()(torch.tensor([[3e4, -3e4]], dtype=torch.float16), targets, NOW)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(6e4, rel=1e-3)


def test_keeps_no_state_and_has_no_opinion_on_labels():
    criterion = CrossEntropy()
    assert not criterion.state_dict()
    assert criterion.confidence(torch.tensor([0])) is None
    assert criterion.needs == frozenset()


def test_scale_multiplies_and_one_changes_no_bit(generator: torch.Generator):
    logits, targets = torch.randn(5, 3, generator=generator), Targets.unmixed(torch.arange(5) % 3, torch.arange(5))
    plain = CrossEntropy()(logits, targets, NOW)
    assert torch.equal(plain, torch.nn.functional.cross_entropy(logits, targets.label[0], reduction="none"))
    torch.testing.assert_close(CrossEntropy(scale=0.9)(logits, targets, NOW), 0.9 * plain)
    assert not CrossEntropy(scale=0.0)(logits, targets, NOW).any()
    with pytest.raises(ValueError, match=r"scale.*-0\.5"):
        CrossEntropy(scale=-0.5)
