"""Independent random streams from one seed."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive another seed from a seed and a purpose, the same on every machine.

    Args:
        seed: The user's seed.
        names: What the stream is for, e.g. ``"order", epoch``; words without a slash.

    Returns:
        An integer in [0, 2**63).
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> "torch.Generator":
    """A CPU generator of its own for one purpose; see ``derive_seed``."""
    # Imported late, so that the command line can ask noise models for their kind without waiting for torch.
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))
