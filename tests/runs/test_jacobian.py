"""Norms of Jacobians against loops, finite differences and each other, in double precision."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alasca_pl.models.network import Network
from alasca_pl.runs.jacobian import estimated_jacobian_norms, jacobian_norms


@pytest.fixture
def features(make_network: Callable[..., Network]) -> Callable[[Tensor], Tensor]:
    network = make_network(0, heads=(), norm="batch").double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Statistics as after training, so that evaluation mode differs from training mode.
            module.running_mean.normal_(generator=torch.Generator().manual_seed(1))
            module.running_var.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(2))
    network.eval()
    return lambda image: network(image).features


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_of_a_linear_map_is_the_norm_of_its_matrix():
    weight = torch.tensor([[3.0, 0.0], [0.0, 4.0], [12.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    norms = jacobian_norms(lambda image: image.flatten(1) @ weight, torch.randn(5, 1, 2, 2, dtype=torch.float64))
    assert norms.tolist() == pytest.approx([13.0] * 5)


def test_equals_finite_differences_of_each_image_alone(features, image, agreement):
    """Each pixel is moved on its own, so that neither autograd nor batches take part in the reference."""
    step, expected = 1e-6, []
    for one in image:
        total = 0.0
        for place in range(one.numel()):
            moved = [one.clone(), one.clone()]
            moved[0].view(-1)[place] += step
            moved[1].view(-1)[place] -= step
            with torch.no_grad():
                up, down = (features(each.unsqueeze(0))[0] for each in moved)
            total += float((((up - down) / (2 * step)) ** 2).sum())
        expected.append(math.sqrt(total))
    reference = torch.tensor(expected, dtype=torch.float64)
    agreement(
        jacobian_norms, "norm by central differences", jacobian_norms(features, image), reference, atol=1e-5, rtol=1e-5
    )


def test_equals_torch_s_own_jacobian(features, image):
    for one, norm in zip(image, jacobian_norms(features, image)):
        whole = torch.autograd.functional.jacobian(lambda each: features(each.unsqueeze(0))[0], one)
        assert norm.item() == pytest.approx(whole.norm().item(), rel=1e-12)


def test_hutchinson_s_estimate_equals_a_loop_over_its_probes(features, image):
    estimate = estimated_jacobian_norms(features, image, 3, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    size = features(image).shape
    draws = [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(3)]
    for number, one in enumerate(image):
        whole = torch.autograd.functional.jacobian(lambda each: features(each.unsqueeze(0))[0], one).flatten(1)
        squares = [float((draw[number] @ whole).square().sum()) for draw in draws]
        assert estimate[number].item() == pytest.approx(math.sqrt(sum(squares) / 3), rel=1e-10)


def test_hutchinson_s_estimate_tends_to_the_exact_norm(features, image):
    exact = jacobian_norms(features, image).square()
    probes = 400
    estimate = estimated_jacobian_norms(features, image, probes, torch.Generator().manual_seed(6)).square()
    for number, one in enumerate(image):
        whole = torch.autograd.functional.jacobian(lambda each: features(each.unsqueeze(0))[0], one).flatten(1)
        # The variance of v^T A v with normal v is 2 ||A||_F^2, here A = J J^T.
        deviation = math.sqrt(2 * float((whole @ whole.T).square().sum()) / probes)
        assert abs(float(estimate[number] - exact[number])) < 5 * deviation
        assert deviation < 0.2 * float(exact[number])


def test_nothing_is_left_in_the_parameters_and_the_images(make_network, image):
    network = make_network(0, heads=(), norm="batch").double().eval()
    kept = image.clone()
    jacobian_norms(lambda each: network(each).features, image)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(image, kept) and not image.requires_grad
