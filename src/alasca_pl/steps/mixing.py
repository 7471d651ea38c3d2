"""Mixing samples of the global batch of which only some are used."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.core.types import Targets


class Mixture(NamedTuple):
    """Rows of this process that are mixed, and with what. Shapes: R rows."""

    image: Tensor
    """(R, C, H, W)."""
    targets: Targets
    """V = 2."""
    counted: Tensor
    """(R,): 0 for rows that only keep the processes together, else 1."""


def draw_pairs(seed: int, *purpose: str | int, alpha: float, rows: int) -> tuple[float, Tensor]:
    """Draw how rows are mixed, a function of seed and purpose, the same on all ranks.

    Args:
        seed: Seed.
        purpose: What it is for, e.g. kind and number of the step.
        alpha: The weight is drawn from Beta(alpha, alpha).
        rows: Number of rows.

    Returns:
        The weight of a row's own image, the larger part, in [0.5, 1], and an order of the rows, int64 (rows,).
    """
    drawn = np.random.default_rng(derive_seed(seed, *purpose)).beta(alpha, alpha)
    return float(max(drawn, 1.0 - drawn)), torch.randperm(rows, generator=generator(seed, *purpose))


def mix_among(
    image: Tensor,
    everyone: Tensor,
    used: Tensor,
    everywhere: Tensor,
    place: Tensor,
    labels: Tensor,
    indices: Tensor,
    own: float,
    order: Tensor,
    mask: Tensor | None = None,
) -> Mixture:
    """Mix the used rows of this process with used rows of the global batch.

    Args:
        image: Images of this process, (B, C, H, W).
        everyone: Those of the global batch, (G, C, H, W).
        used: Which rows of this process are used, bool (B,).
        everywhere: Which of the global batch are, bool (G,).
        place: Where the rows of this process are in the global batch, int64 (B,).
        labels: Labels that are used, of the global batch, int64 (G,).
        indices: Indices of the samples, likewise.
        own: Weight of a row's own image and label, in [0, 1].
        order: A permutation of the global batch; its used rows, in this order, are the partners of the used rows.
        mask: Where a row's own image is seen instead of its partner's, (H, W) of 0 and 1, or None to blend both.

    Returns:
        The mixed rows; two that do not count if no row of this process is used, because every process must take part in the
        forward pass.
    """
    order = order.to(place.device)
    partner = torch.arange(len(everywhere), device=place.device)
    partner[everywhere.nonzero().squeeze(1)] = order[everywhere[order]]
    rows = used.nonzero().squeeze(1)
    counted = torch.ones(len(rows), device=place.device)
    if len(rows) == 0:
        rows = torch.arange(min(2, len(image)), device=place.device)
        counted = torch.zeros(len(rows), device=place.device)
    mine, theirs = place[rows], partner[place[rows]]
    both = torch.stack([mine, theirs])
    weight = torch.tensor([[own], [1.0 - own]], device=place.device).expand(2, len(rows))
    share = own if mask is None else mask.to(image)
    mixed = share * image[rows] + (1.0 - share) * everyone[theirs]
    return Mixture(mixed, Targets(labels[both], indices[both], weight), counted)


def low_frequency_mask(own: float, height: int, width: int, rng: np.random.Generator, decay: float = 3.0) -> Tensor:
    """Draw a mask of large connected regions from noise whose spectrum decays, as FMix does.

    Args:
        own: Fraction of the pixels that are 1, in [0, 1].
        height: H.
        width: W.
        rng: Draws the noise.
        decay: Power with which amplitudes fall with the frequency.

    Returns:
        Float32 (H, W) of 0 and 1; the number of 1 is ``own * H * W``, rounded.

    References:
        Harris et al.: FMix: Enhancing Mixed Sample Data Augmentation. arXiv 2020. https://arxiv.org/abs/2002.12047

    Example:
        >>> import numpy as np
        >>> low_frequency_mask(0.25, 8, 8, np.random.default_rng(0)).mean()
        tensor(0.2500)
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    noise = rng.standard_normal((*frequency.shape, 2)) @ np.array([1.0, 1.0j])
    grey = np.fft.irfft2(noise / np.maximum(frequency, 1.0 / max(height, width)) ** decay, s=(height, width))
    mask = np.zeros(height * width, dtype=np.float32)
    mask[np.argsort(-grey, axis=None, kind="stable")[: round(own * height * width)]] = 1.0
    return torch.from_numpy(mask.reshape(height, width))
