"""The work of the loader's workers: decode an image and run the per-image stage of its views."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alasca_pl.core.seeds import derive_seed
from alasca_pl.data.images import LazyImages, cover
from alasca_pl.data.views import View


def seeded(view: View, image: Tensor, key: tuple[int, int, int, int]) -> Tensor:
    """Run a view's stage for single images with its own draws; torch's random state is not changed."""
    assert view.sample is not None
    seed, epoch, index, number = key
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "sample", epoch, index, number))
        return view.sample(image)


class DecodedViews(Dataset):
    """Decodes an image once and runs the per-image stage of all its views.

    Keys contain the epoch, so that nothing else in the workers' copy of this object has to change.
    """

    def __init__(
        self, images: LazyImages, channels: int, views: Sequence[View], seed: int, cover: tuple[int, int] | None
    ) -> None:
        # Here, so that workers that are forked have it.
        from torchvision.transforms.v2.functional import pil_to_tensor

        self.images = images
        self.to_tensor = pil_to_tensor
        self.cover = cover
        self.mode = "L" if channels == 1 else "RGB"
        self.views = tuple(views)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Tensor, ...]:
        epoch, index, partner = key
        pixels = self._read(index)
        made = [self._view(number, view, pixels, epoch, index) for number, view in enumerate(self.views)]
        if partner >= 0:
            made.append(self._view(len(self.views), self.views[0], self._read(partner), epoch, index))
        return tuple(made)

    def _read(self, index: int) -> Tensor:
        image = self.images.read(index, self.mode)  # type: ignore[arg-type]
        return self.to_tensor(image if self.cover is None else cover(image, self.cover, self.images.name(index)))

    def _view(self, number: int, view: View, pixels: Tensor, epoch: int, index: int) -> Tensor:
        return pixels if view.sample is None else seeded(view, pixels, (self.seed, epoch, index, number))


# Epoch, index and partner's index (-1 for none) of a sample.
SampleKey = tuple[int, int, int]


def decoding_loader(dataset: DecodedViews, keys: list[list[SampleKey]], num_workers: int, pin: bool) -> DataLoader:
    """One iteration of workers over batches of keys."""
    return DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=num_workers,
        # Persistent workers would be stopped only when a cycle of references is collected, after seconds.
        persistent_workers=False,
        pin_memory=pin,
        # The loader draws a seed for its workers; from its own generator, so that the network's draws stay as they are.
        generator=torch.Generator().manual_seed(0),
    )
