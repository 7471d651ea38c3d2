"""Norm outputs: activations after the normalisation layers inside residual blocks, for penalties on their gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from alasca_pl.core.types import NormOutput
from alasca_pl.models.preact import PreActBlock

# Exactly these types: a subclass may do more than normalise, e.g. timm's layers that also activate.
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm)


def _is_block(module: nn.Module) -> bool:
    if isinstance(module, BasicBlock | Bottleneck | PreActBlock):
        return True
    kind = type(module)
    return kind.__module__.startswith("timm.") and kind.__name__ in ("BasicBlock", "Bottleneck")


def norm_layers(backbone: nn.Module) -> list[nn.Module]:
    """Find the normalisation layers inside the residual blocks, without those of stem and shortcuts.

    Args:
        backbone: A trunk of basic, bottleneck or pre-activation blocks of torchvision, timm or this package.

    Returns:
        The layers, shallow to deep.

    Raises:
        ValueError: If there is none.
    """
    layers = [
        layer
        for block in backbone.modules()
        if _is_block(block)
        # Shortcuts keep their normalisation a level deeper.
        for layer in block.children()
        if type(layer) in _NORMS
    ]
    if not layers:
        raise ValueError(
            f"no residual block with a normalisation layer was found in {type(backbone).__name__}; choose a ResNet, "
            "e.g. model=resnet34_cifar, model=preact_resnet18 or model=small"
        )
    return layers


@contextmanager
def collected(layers: list[nn.Module]) -> Iterator[list[NormOutput]]:
    """Collect the output of each layer, in the order in which they run, while the context is active.

    The hooks exist only during one forward pass, so that a network can be copied, and converted for several processes,
    at any time. Outputs of passes without gradient are not collected.

    Args:
        layers: Normalisation layers.
    """
    norm_outputs: list[NormOutput] = []

    def collect(layer: nn.Module, inputs: Any, value: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return value
        scale = layer.weight if isinstance(layer.weight, Tensor) else value.new_ones(value.shape[1])
        norm_outputs.append(NormOutput(value, scale))
        # The next layer may write into its input, so it gets a copy.
        return value.clone()

    handles = [layer.register_forward_hook(collect) for layer in layers]
    try:
        yield norm_outputs
    finally:
        for handle in handles:
            handle.remove()
