"""Digests by which two runs show that they began alike."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from alasca_pl.core.modes import evaluating
from alasca_pl.models.network import Network
from alasca_pl.noise.labels import Labels


def weights_digest(network: Network) -> str:
    """SHA-256 of all parameters and buffers of a network without its auxiliary heads, with their names."""
    content = hashlib.sha256()
    for name, value in network.state_dict().items():
        if not name.startswith("aux_heads."):
            content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            content.update(value.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def split_digest(positions: Labels) -> str:
    """SHA-256 of the positions of the training samples, in their order."""
    return hashlib.sha256(np.ascontiguousarray(positions, dtype="<i8").tobytes()).hexdigest()


@torch.no_grad()
def flop_counts(network: Network, image_shape: Sequence[int]) -> dict[str, int]:
    """Floating-point operations of a forward pass for one image: ``main`` without, ``aux_heads`` of its auxiliary heads.

    Convolutions and products of matrices are counted, with two operations for a multiplication and an addition.

    Args:
        network: The network, whose mode and state stay as they are.
        image_shape: (C, H, W).
    """
    weight = network.head.weight
    image = torch.zeros(1, *image_shape, device=weight.device, dtype=weight.dtype)
    with evaluating(network):
        with FlopCounterMode(display=False) as whole:
            output = network(image)
        # Without the heads a pass is the backbone and the main head on its features.
        with FlopCounterMode(display=False) as main:
            network.backbone(image)
            network.head(output.features)
    return {"main": main.get_total_flops(), "aux_heads": whole.get_total_flops() - main.get_total_flops()}


def parameter_counts(network: Network) -> dict[str, int]:
    """Numbers of trained parameters of a network: ``main`` without, ``aux_heads`` of its auxiliary heads."""
    trained = [(name, value.numel()) for name, value in network.named_parameters() if value.requires_grad]
    heads = sum(count for name, count in trained if name.startswith("aux_heads."))
    return {"main": sum(count for _, count in trained) - heads, "aux_heads": heads}
