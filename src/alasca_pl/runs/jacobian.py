"""Frobenius norms of Jacobians with regard to images."""

from collections.abc import Callable

import torch
from torch import Tensor


def jacobian_norms(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Norm of each sample's Jacobian, by one backward pass per output.

    Args:
        function: Maps images (B, C, H, W) to outputs (B, D), each row from its image alone, as networks in evaluation mode do.
        image: Float (B, C, H, W).

    Returns:
        ``||d function / d image||_F``, float64 (B,).

    Example:
        >>> weight = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
        >>> jacobian_norms(lambda image: image.flatten(1) @ weight, torch.zeros(1, 1, 1, 2))
        tensor([5.], dtype=torch.float64)
    """
    image, output = _run(function, image)
    total = image.new_zeros(len(image), dtype=torch.float64)
    for number in range(output.shape[1]):
        # Rows depend on their images alone, so that the gradient of a sum holds the gradients of all.
        total += _squares(output[:, number].sum(), image)
    return total.sqrt()


def estimated_jacobian_norms(
    function: Callable[[Tensor], Tensor], image: Tensor, probes: int, generator: torch.Generator
) -> Tensor:
    """Norm of each sample's Jacobian by Hutchinson's estimator: the mean of ``||J^T v||^2`` over normal v is ``||J||_F^2``.

    Args:
        function: See ``jacobian_norms``.
        image: See ``jacobian_norms``.
        probes: Number of backward passes.
        generator: Draws v, on the CPU.

    Returns:
        Square root of the estimate, float64 (B,).

    References:
        Hutchinson: A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines. Communications
        in Statistics 1990. https://doi.org/10.1080/03610919008812866
    """
    image, output = _run(function, image)
    total = image.new_zeros(len(image), dtype=torch.float64)
    for _ in range(probes):
        vector = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
        total += _squares((output * vector).sum(), image)
    return (total / probes).sqrt()


def _run(function: Callable[[Tensor], Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
    image = image.detach().clone().requires_grad_()
    with torch.enable_grad():
        return image, function(image)


def _squares(value: Tensor, image: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
    return gradient.flatten(1).double().square().sum(dim=1)
