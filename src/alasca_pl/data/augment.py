"""Augmentations of images: on whole batches as tensors, and on single images where sizes differ."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from alasca_pl.core.seeds import generator

# 256 for 224, the usual ratio for ImageNet.
ENLARGE = 8 / 7


@runtime_checkable
class BatchAugment(Protocol):
    """Augmentation of a batch of uint8 images as one tensor.

    Random numbers are drawn for a whole epoch at once, so that an image's augmentation depends neither on its batch nor
    on the process.
    """

    def draws(self, num_samples: int, seed: int, epoch: int, *view: str | int) -> Tensor:
        """Draw the random numbers of one epoch: one row per training sample, on the CPU."""
        ...

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images (B, C, H, W) by the rows of ``draws`` that belong to them."""
        ...


class CropFlip(BatchAugment):
    """Random shift by up to ``padding`` pixels over zeros, then a horizontal flip with probability 1/2.

    The draws of an epoch are one table with a row per sample: the process and batch of a sample, and whether the run
    was resumed, make no difference.

    Args:
        padding: Largest shift in pixels, at least 0; 0 does not shift.
        flip: Whether to flip.

    Raises:
        ValueError: If ``padding`` is negative.

    The default is the usual augmentation for CIFAR.

    Example:
        >>> augment = CropFlip(padding=1)
        >>> images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
        >>> augment(images, augment.draws(5, seed=0, epoch=0)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        if padding < 0:
            raise ValueError(f"padding must be at least 0, got {padding}; 0 switches the crop off")
        self.padding = padding
        self.flip = flip

    def draws(self, num_samples: int, seed: int, epoch: int, *view: str | int) -> Tensor:
        """Draw shifts and flips of one epoch.

        Args:
            num_samples: N.
            seed: The run's seed.
            epoch: From 0.
            view: Names the view, if it is not the first.

        Returns:
            int64 (N, 3): rows down, columns right, both in [0, 2 * padding], and flip in {0, 1}.
        """
        rng = generator(seed, "augment", epoch, *view)
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


class Cutout(BatchAugment):
    """A grey square at a random position, clipped at the image border.

    Args:
        size: Edge in pixels, at least 1.

    Raises:
        ValueError: If ``size`` is below 1.

    References:
        DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552; grey instead of black as in FixMatch,
        https://arxiv.org/abs/2001.07685.

    Example:
        >>> cutout = Cutout(4)
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> cutout(images, cutout.draws(2, seed=0, epoch=0)).max().item()
        127
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"the size of cutout must be at least 1 pixel, got {size}; augment=weak does not use it")
        self.size = size

    def draws(self, num_samples: int, seed: int, epoch: int, *view: str | int) -> Tensor:
        """Draw the centres of one epoch, float (N, 2), in [0, 1) from top and from left."""
        return torch.rand(num_samples, 2, generator=generator(seed, "cutout", epoch, *view))

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        edges = torch.tensor([height, width], device=images.device)
        start = (draws * edges).long() - self.size // 2
        row = torch.arange(height, device=images.device) - start[:, 0:1]
        column = torch.arange(width, device=images.device) - start[:, 1:2]
        inside = ((row >= 0) & (row < self.size)).unsqueeze(2) & ((column >= 0) & (column < self.size)).unsqueeze(1)
        return images.masked_fill(inside.unsqueeze(1), 127)


class Fit(nn.Module):
    """Resize an image: scale it until it covers 8/7 of the size, then crop in the centre or at random.

    Args:
        size: Height and width.
        random: Whether the crop is random.
    """

    def __init__(self, size: tuple[int, int], random: bool = False) -> None:
        # Imported late, as in other places of this package: images of one size in memory do not need it.
        from torchvision.transforms import v2

        super().__init__()
        self.size = size
        self.crop = v2.RandomCrop(size) if random else v2.CenterCrop(size)

    def forward(self, image: Tensor) -> Tensor:
        """From uint8 ``(C, H, W)`` to uint8 ``(C, *size)``."""
        height, width = image.shape[-2:]
        factor = max(round(self.size[0] * ENLARGE) / height, round(self.size[1] * ENLARGE) / width)
        target = [max(round(height * factor), self.size[0]), max(round(width * factor), self.size[1])]
        if target != [height, width]:
            from torchvision.transforms.v2 import functional

            image = functional.resize(image, target, antialias=True)
        return self.crop(image)
