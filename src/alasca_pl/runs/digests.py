"""Digests by which two runs show that they began alike."""

import hashlib

import numpy as np

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


def parameter_counts(network: Network) -> dict[str, int]:
    """Numbers of trained parameters of a network: ``main`` without, ``aux_heads`` of its auxiliary heads."""
    trained = [(name, value.numel()) for name, value in network.named_parameters() if value.requires_grad]
    heads = sum(count for name, count in trained if name.startswith("aux_heads."))
    return {"main": sum(count for _, count in trained) - heads, "aux_heads": heads}
