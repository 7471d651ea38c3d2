"""Augmentation of whole batches as tensors, with draws that depend on nothing but seed, epoch and sample."""

import torch
from torch import Tensor

from alasca_pl.core.seeds import generator


class CropFlip:
    """Random shift by up to ``padding`` pixels over zeros, then a horizontal flip with probability 1/2.

    The draws of an epoch are one table with a row per sample: which process handles a sample, in which batch, and
    whether the run was resumed makes no difference.

    Args:
        padding: Pixels of the largest shift, at least 0; 0 shifts nothing.
        flip: Whether to flip.

    Raises:
        ValueError: If ``padding`` is negative.

    Source: crop with padding 4 and flip is the field's augmentation for CIFAR.
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        if padding < 0:
            raise ValueError(f"padding must be at least 0, got {padding}; 0 switches the crop off")
        self.padding = padding
        self.flip = flip

    def draws(self, num_samples: int, seed: int, epoch: int) -> Tensor:
        """Draw shifts and flips of one epoch.

        Args:
            num_samples: N.
            seed: The run's seed.
            epoch: From 0.

        Returns:
            int64 (N, 3): rows down, columns right, both in [0, 2 * padding], and flip in {0, 1}.
        """
        rng = generator(seed, "augment", epoch)
        shifts = torch.randint(0, 2 * self.padding + 1, (num_samples, 2), generator=rng)
        flips = torch.randint(0, 2, (num_samples, 1), generator=rng) if self.flip else torch.zeros_like(shifts[:, :1])
        return torch.cat([shifts, flips], dim=1)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Shift and flip images.

        Args:
            images: (B, C, H, W) of any type.
            draws: Rows of ``draws`` for these images, (B, 3).

        Returns:
            Like ``images``.
        """
        height, width = images.shape[-2:]
        row = torch.arange(height, device=images.device) + draws[:, 0:1]
        column = torch.arange(width, device=images.device)
        column = torch.where(draws[:, 2:3] == 1, column.flip(0), column) + draws[:, 1:2]
        padded = torch.nn.functional.pad(images, (self.padding,) * 4)
        # One gather over flattened pixels does crop and flip for the whole batch at once.
        flat = (row.unsqueeze(2) * padded.shape[-1] + column.unsqueeze(1)).flatten(1)
        flat = flat.unsqueeze(1).expand(-1, images.shape[1], -1)
        return padded.flatten(2).gather(2, flat).view(images.shape)
