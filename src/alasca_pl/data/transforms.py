"""Augmentations by name, with draws that depend on nothing but seed, epoch, sample and view.

A view of a sample is made in two stages. The first works on single images, in the loader's workers: bringing files to one
size, RandAugment. The second works on whole batches as tensors, on the device that trains: shift, flip, cutout. Both
loaders run the same stages with the same draws, so that they give the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from alasca_pl.core.seeds import generator

AugmentName = Literal["none", "weak", "strong"]
# Images from files above this size are cropped from an enlarged copy, others brought to their size at once.
SMALL = 64
# 256 for 224, the usual ratio of ImageNet.
ENLARGE = 8 / 7


class BatchAugment(Protocol):
    """Augmentation of a batch of uint8 images as one tensor."""

    def draws(self, num_samples: int, seed: int, epoch: int, *view: str | int) -> Tensor:
        """Draw what one epoch needs: one row per training sample, on the CPU."""
        ...

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images (B, C, H, W) by the rows of ``draws`` that belong to them."""
        ...


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


class Cutout:
    """A grey square at a random place, cut off where it reaches over the border.

    Args:
        size: Edge in pixels, at least 1.

    Raises:
        ValueError: If ``size`` is below 1.

    Source: DeVries and Taylor 2017; grey instead of black as in FixMatch.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"the size of cutout must be at least 1 pixel, got {size}; augment=weak does without it")
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


@dataclass(frozen=True)
class View:
    """How one view of a sample is made.

    Attributes:
        sample: From one uint8 image (C, H, W) to one of the final size; it draws from torch's global random state, which
            the loader seeds for each image. None leaves images as they are.
        batch: What follows on batches.
    """

    sample: nn.Module | None = None
    batch: tuple[BatchAugment, ...] = ()


def make_view(
    name: AugmentName | None,
    size: tuple[int, int],
    fit: bool = False,
    padding: int | None = None,
    flip: bool = True,
) -> View:
    """Make a view by the name of its augmentation.

    Args:
        name: ``none`` (or None): centre; ``weak``: random crop and flip; ``strong``: ``weak``, RandAugment with its
            default strength (Cubuk et al. 2020) and cutout of half the image.
        size: Height and width of the images that come out.
        fit: Whether images have other sizes and must be brought to ``size``; only for sizes above 64 pixels.
        padding: Largest shift in pixels, by default an eighth of the height (4 for 32). Images that must be fitted are
            instead cropped at random from a copy 8/7 as large (256 for 224).
        flip: Whether ``weak`` and ``strong`` flip horizontally.

    Raises:
        ValueError: If the name is unknown or a value is outside its range.
    """
    name = name or "none"
    if name not in get_args(AugmentName):
        raise ValueError(f"unknown data.augment {name!r}; choose one of {', '.join(get_args(AugmentName))}")
    per_sample: list[nn.Module] = []
    per_batch: list[BatchAugment] = []
    if fit:
        per_sample.append(Fit(size, random=name != "none"))
    if name != "none":
        if fit:
            per_sample += [v2.RandomHorizontalFlip()] if flip else []
        else:
            per_batch.append(CropFlip(size[0] // 8 if padding is None else padding, flip))
    if name == "strong":
        per_sample.append(v2.RandAugment())
        per_batch.append(Cutout(max(1, min(size) // 2)))
    return View(nn.Sequential(*per_sample) if per_sample else None, tuple(per_batch))


class Fit(nn.Module):
    """Bring an image to a size: scale it until it covers 8/7 of the size, then crop in the centre or at random.

    Args:
        size: Height and width.
        random: Whether the crop is random.
    """

    def __init__(self, size: tuple[int, int], random: bool = False) -> None:
        super().__init__()
        self.size = size
        self.crop = v2.RandomCrop(size) if random else v2.CenterCrop(size)

    def forward(self, image: Tensor) -> Tensor:
        """From uint8 (C, H, W) to uint8 (C, *size)."""
        height, width = image.shape[-2:]
        factor = max(round(self.size[0] * ENLARGE) / height, round(self.size[1] * ENLARGE) / width)
        target = [max(round(height * factor), self.size[0]), max(round(width * factor), self.size[1])]
        if target != [height, width]:
            image = v2.functional.resize(image, target, antialias=True)
        return self.crop(image)


def draw_all(view: View, num_samples: int, seed: int, epoch: int, *names: str | int) -> list[Tensor]:
    """Draw what all batch stages of a view need for one epoch."""
    return [augment.draws(num_samples, seed, epoch, *names) for augment in view.batch]


def apply_batch(view: View, images: Tensor, draws: Sequence[Tensor]) -> Tensor:
    """Run the batch stages of a view; ``draws`` holds the rows of these images."""
    for augment, rows in zip(view.batch, draws):
        images = augment(images, rows)
    return images
