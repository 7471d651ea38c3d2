"""Batches gathered, augmented and normalised as tensors, on the device that trains."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alasca_pl.core.seeds import generator
from alasca_pl.core.types import Batch
from alasca_pl.data.transforms import CropFlip


class TrainBatches:
    """One epoch after the other of shuffled, augmented batches.

    Order and augmentation are functions of seed, epoch and sample alone. Rank r of W gets its part of each global batch,
    so that W processes take the same steps as one. The position within an epoch can be saved and restored.

    Args:
        images: uint8 (N, C, H, W), on the device where batches shall be made.
        label: Observed labels, int64 (N,), on the same device.
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise.
        batch_size: Size of the global batch.
        seed: The run's seed.
        augment: Augmentation, or None.
        drop_last: Whether to leave out a last batch that is smaller.
        rank: This process's place.
        world: Number of processes.
    """

    def __init__(
        self,
        images: Tensor,
        label: Tensor,
        mean: Tensor,
        std: Tensor,
        batch_size: int,
        seed: int,
        augment: CropFlip | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images = images
        self.label = label
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.drop_last = drop_last
        self.rank = rank
        self.world = world
        self._normalise = Normalise(mean, std, images.device)
        self._next = 0
        self._resume: tuple[int, int] | None = None
        self.epoch = 0
        # Lightning announces epochs to an object of this name.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        count = len(self.images) / self.batch_size
        return math.floor(count) if self.drop_last else math.ceil(count)

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume = (state["epoch"], state["next"])

    def __iter__(self) -> Iterator[Batch]:
        device = self.images.device
        order = torch.randperm(len(self.images), generator=generator(self.seed, "order", self.epoch)).to(device)
        draws = None
        if self.augment is not None:
            draws = self.augment.draws(len(self.images), self.seed, self.epoch).to(device)
        epoch, start = self._resume or (-1, 0)
        self._resume = None
        for number in range(start if epoch == self.epoch else 0, len(self)):
            chunk = order[number * self.batch_size : (number + 1) * self.batch_size]
            index = chunk.tensor_split(self.world)[self.rank]
            image = self.images[index]
            if self.augment is not None and draws is not None:
                image = self.augment(image, draws[index])
            # A checkpoint written after this batch must go on with the next one.
            self._next = (number + 1) % len(self)
            yield Batch(self._normalise(image), self.label[index], index)


class EvalBatches:
    """Samples in order, without augmentation; rank r of W gets every W-th sample, each exactly once.

    Args:
        images: uint8 (N, C, H, W), on the device where batches shall be made.
        label: int64 (N,), on the same device.
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise.
        batch_size: Size of this process's batches.
        rank: This process's place.
        world: Number of processes.
    """

    def __init__(
        self, images: Tensor, label: Tensor, mean: Tensor, std: Tensor, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        self.images = images
        self.label = label
        self.index = torch.arange(rank, len(images), world, device=images.device)
        self.batch_size = batch_size
        self._normalise = Normalise(mean, std, images.device)

    def __len__(self) -> int:
        return math.ceil(len(self.index) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for index in self.index.split(self.batch_size):
            yield Batch(self._normalise(self.images[index]), self.label[index], index)


class Normalise:
    """From pixels 0 to 255 to numbers of about mean 0 and standard deviation 1 per channel, float32."""

    def __init__(self, mean: Tensor, std: Tensor, device: torch.device) -> None:
        # (x / 255 - mean) / std as one product and sum.
        self.scale = (1.0 / (255.0 * std)).view(1, -1, 1, 1).to(device)
        self.shift = (-mean / std).view(1, -1, 1, 1).to(device)

    def __call__(self, image: Tensor) -> Tensor:
        return image.float() * self.scale + self.shift
