"""Batches for evaluation: samples in order, each exactly once."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alasca_pl.core.normalise import Normalise
from alasca_pl.core.types import Batch
from alasca_pl.data.images import LazyImages
from alasca_pl.data.views import View
from alasca_pl.data.workers import DecodedViews, SampleKey, decoding_loader


class EvalArrays:
    """Samples in order, without augmentation; rank r of W gets every W-th sample, each exactly once.

    Args:
        images: uint8 (N, C, H, W), on the device where batches are made.
        label: int64 (N,), on the same device.
        normalise: Applied last.
        batch_size: Size of this process's batches.
        rank: Rank of this process.
        world: Number of processes.
    """

    def __init__(
        self, images: Tensor, label: Tensor, normalise: Normalise, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        self.images = images
        self.label = label
        self.index = torch.arange(rank, len(images), world, device=images.device)
        self.batch_size = batch_size
        self._normalise = normalise.to(images.device)

    def __len__(self) -> int:
        return math.ceil(len(self.index) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for index in self.index.split(self.batch_size):
            yield Batch(self._normalise(self.images[index]), self.label[index], index)


class EvalFiles:
    """Like ``EvalArrays``, from files.

    Args:
        images: The images.
        channels: 1 or 3.
        label: int64 (N,), on the device where batches are made.
        normalise: Applied last.
        view: How images are resized.
        cover: See ``FileBatches``.
        batch_size: Size of this process's batches.
        rank: Rank of this process.
        world: Number of processes.
        num_workers: Worker processes; 0 decodes in this one.
    """

    def __init__(
        self,
        images: LazyImages,
        channels: int,
        label: Tensor,
        normalise: Normalise,
        view: View,
        cover: tuple[int, int] | None,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 2,
    ) -> None:
        self.label = label
        self._batches = torch.arange(rank, len(images), world).split(batch_size)
        self._normalise = normalise.to(label.device)
        keys: list[list[SampleKey]] = [[(0, one, -1) for one in rows.tolist()] for rows in self._batches]
        dataset = DecodedViews(images, channels, (view,), 0, cover)
        self._loader = decoding_loader(dataset, keys, num_workers, pin=label.device.type == "cuda")

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for rows, (pixels,) in zip(self._batches, self._loader):
            index = rows.to(self.label.device)
            yield Batch(self._normalise(pixels.to(self.label.device)), self.label[index], index)
