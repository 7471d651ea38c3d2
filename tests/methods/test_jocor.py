"""JoCoR: divergence and joint loss by hand, one selection for all networks, gradients of both, limits."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from alasca_pl.core.types import Batch, NetworkOutput, Progress, StepView, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.methods.jocor import Agreement, JointCrossEntropy, JointSmallLoss, symmetric_divergence
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep

NOW = Progress(epoch=50, step=0, max_epochs=100, steps_per_epoch=10)


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(each) for each in logits))
    return [each - total for each in logits]


def divergence(one: list[float], other: list[float]) -> float:
    """KL in both directions, term by term."""
    p, q = log_softmax(one), log_softmax(other)
    forward = sum(math.exp(a) * (a - b) for a, b in zip(p, q))
    return forward + sum(math.exp(b) * (b - a) for a, b in zip(p, q))


def method_of(make_network: Callable[..., Network], weight: float, rate: float = 0.0, networks: int = 2) -> Method:
    return Method(
        [make_network(seed, heads=()) for seed in range(networks)],
        [JointCrossEntropy(networks, weight) for _ in range(networks)],
        [{"agreement": Agreement(weight)} for _ in range(networks)],
        selector=JointSmallLoss(networks, weight, noise_rate=rate, ramp_epochs=0),
    )


def test_divergence_of_the_reference_sheet(agreement, generator: torch.Generator):
    one, other = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.5, 1.5, 0.0]])
    assert symmetric_divergence(one, other).item() == pytest.approx(0.432260 + 0.410667, abs=2e-6)
    one, other = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    expected = [divergence(a, b) for a, b in zip(one.tolist(), other.tolist())]
    agreement(
        symmetric_divergence, "divergence in both directions", symmetric_divergence(one, other), expected, atol=1e-13
    )
    torch.testing.assert_close(symmetric_divergence(one + 7.0, other - 3.0), symmetric_divergence(other, one))
    assert symmetric_divergence(one, one).abs().max() == 0.0


@pytest.mark.parametrize(("weight", "joint"), [(0.0, 1.871975), (0.1, 1.769070), (0.9, 0.945832), (1.0, 0.842927)])
def test_joint_loss_of_the_reference_sheet(weight: float, joint: float, agreement):
    """The sum of what criteria and penalties give both networks is the loss by which the selector ranks."""
    logits = [
        torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64),
        torch.tensor([[0.5, 1.5, 0.0]], dtype=torch.float64),
    ]
    targets = Targets.unmixed(torch.tensor([0]), torch.tensor([0]))
    outputs = [NetworkOutput(each, (), each) for each in logits]
    total = torch.zeros(1, dtype=torch.float64)
    for output, peer in (outputs, outputs[::-1]):
        base = JointCrossEntropy(2, weight)(output.logits, targets, NOW)
        view = StepView(output, targets, base, torch.ones(1), NOW, peers=(peer,))
        penalty = Agreement(weight)
        total = total + base + penalty.strength * penalty(view)
    agreement(Agreement, "joint loss", total, [joint], atol=1e-6)


@pytest.mark.parametrize("networks", [2, 3])
@pytest.mark.parametrize("weight", [0.0, 0.6, 1.0])
def test_all_networks_get_the_smallest_joint_losses(
    networks: int, weight: float, agreement, generator: torch.Generator
):
    selector = JointSmallLoss(networks, weight, noise_rate=0.4, ramp_epochs=0)
    logits = torch.randn(networks, 12, 4, generator=generator)
    # Few values, so that losses tie where the divergence has no weight.
    losses = torch.randint(3, (networks, 12), generator=generator).float()
    index = torch.randperm(30, generator=generator)[:12]
    joint = [
        float(losses[:, row].sum())
        + weight
        * sum(divergence(logits[a, row].tolist(), logits[b, row].tolist()) for b in range(networks) for a in range(b))
        for row in range(12)
    ]
    kept = sorted(range(12), key=lambda row: (round(joint[row], 5), int(index[row])))[:7]
    found = selector(losses, list(logits), Targets.unmixed(torch.zeros_like(index), index), NOW)
    expected = [[float(row in kept) for row in range(12)]] * networks
    agreement(JointSmallLoss, "joint selection", found, expected, atol=0.0)


@pytest.mark.parametrize("networks", [2, 3])
def test_a_step_is_the_mean_joint_loss_of_the_selected_samples(
    networks: int, make_network: Callable[..., Network], make_batch: Callable[..., Batch], agreement
):
    method, batch = method_of(make_network, 0.7, rate=0.5, networks=networks).double(), make_batch(size=8)
    batch = batch._replace(image=batch.image.double())
    result = SupervisedStep()(method, batch, NOW)
    result.loss.backward()
    found = [weight.grad for network in method.networks for weight in network.parameters()]
    kept = result.weight[0].bool()
    assert int(kept.sum()) == 4 and all(torch.equal(row, result.weight[0]) for row in result.weight)

    again = method_of(make_network, 0.7, rate=0.5, networks=networks).double()
    logits = [network(batch.image).logits for network in again.networks]
    loss = torch.zeros((), dtype=torch.float64)
    for number, one in enumerate(logits):
        loss = loss + 0.3 * torch.nn.functional.cross_entropy(one[kept], batch.label[kept])
        for other in logits[:number]:
            p, q = (each[kept].softmax(dim=1) for each in (one, other))
            loss = loss + 0.7 * (p * (p / q).log() + q * (q / p).log()).sum(dim=1).mean()
    loss.backward()
    expected = [weight.grad for network in again.networks for weight in network.parameters()]
    agreement(Agreement, "loss of a step", result.loss, loss.item(), atol=1e-12)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_without_agreement_and_forgetting_it_is_cross_entropy_of_each(
    make_network: Callable[..., Network], make_batch: Callable[..., Batch]
):
    gradients = []
    plain = Method([make_network(seed, heads=()) for seed in (0, 1)], [CrossEntropy(), CrossEntropy()])
    for method in (method_of(make_network, 0.0), plain):
        SupervisedStep()(method, make_batch(), NOW).loss.backward()
        gradients.append([weight.grad for network in method.networks for weight in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients))


def test_what_is_kept_shrinks_along_the_ramp(generator: torch.Generator):
    selector = JointSmallLoss(2, 0.5, noise_rate=0.6, ramp_epochs=4)
    losses, logits = torch.rand(2, 20, generator=generator), list(torch.randn(2, 20, 3, generator=generator))
    targets = Targets.unmixed(torch.zeros(20, dtype=torch.int64), torch.arange(20))
    kept: list[Tensor] = [selector(losses, logits, targets, NOW._replace(epoch=epoch))[0] for epoch in range(5)]
    assert [int(each.sum()) for each in kept] == [20, 16, 12, 8, 8]
    assert all((later <= earlier).all() for earlier, later in pairwise(kept))


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_a_weight_outside_its_range_is_named(value: float):
    for make in (lambda: JointCrossEntropy(2, value), lambda: JointSmallLoss(2, value)):
        with pytest.raises(ValueError, match=f"agreement must lie in .* got {value}"):
            make()
    with pytest.raises(ValueError, match=f"strength must be at .* got {value}"):
        Agreement(value)


def test_one_network_has_nobody_to_agree_with():
    with pytest.raises(ValueError, match="num_networks=1; leave num_networks out"):
        JointSmallLoss(1)
