"""Batches of both loaders: arrays gathered and augmented on the device that trains, and files decoded by workers.

They share one plan of an epoch (which samples, in which order, for which process) and one contract: the stable index,
several views of a sample where a method asks for them, exact resuming within an epoch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.core.types import Batch
from alasca_pl.data.files import LazyImages, cover
from alasca_pl.data.transforms import View, apply_batch, draw_all


class Normalise:
    """From pixels 0 to 255 to numbers of about mean 0 and standard deviation 1 per channel, float32.

    Args:
        mean: Per channel, of pixels scaled to [0, 1].
        std: Likewise.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        # (x / 255 - mean) / std as one product and sum.
        self._scale = (1.0 / (255.0 * std)).view(1, -1, 1, 1)
        self._shift = (-mean / std).view(1, -1, 1, 1)

    def to(self, device: torch.device) -> "Normalise":
        """Move the constants, in place."""
        self._scale, self._shift = self._scale.to(device), self._shift.to(device)
        return self

    def __call__(self, image: Tensor) -> Tensor:
        return image.float().mul_(self._scale).add_(self._shift)


@dataclass(frozen=True)
class EpochPlan:
    """Which training samples an epoch deals, and in which order.

    Order and subset are functions of seed, epoch and labels alone. Rank r of W gets its part of each global batch, so
    that W processes take the same steps as one.

    Attributes:
        label: Observed labels, int64 (N,), on the CPU.
        batch_size: Size of the global batch.
        seed: The run's seed.
        drop_last: Whether to leave out a last batch that is smaller.
        subset_size: Deal a subset of about this size, with equally many samples of every class by given label (fewer of
            classes that have fewer); None deals all.
        subset_redraw: Whether the subset is drawn anew each epoch.
        rank: This process's place.
        world: Number of processes.
    """

    label: Tensor
    batch_size: int
    seed: int
    drop_last: bool = False
    subset_size: int | None = None
    subset_redraw: bool = True
    rank: int = 0
    world: int = 1
    size: int = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.label)
        if self.subset_size is not None:
            size = int(torch.bincount(self.label).clamp_max(self._quota(self.subset_size)).sum())
        object.__setattr__(self, "size", size)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        count = self.size / self.batch_size
        return math.floor(count) if self.drop_last else math.ceil(count)

    def order(self, epoch: int) -> Tensor:
        """Indices of an epoch's samples in the order in which they are dealt, int64."""
        rng = generator(self.seed, "order", epoch)
        order = torch.randperm(len(self.label), generator=rng)
        if self.subset_size is None:
            return order
        chosen = order
        if not self.subset_redraw:
            chosen = torch.randperm(len(self.label), generator=generator(self.seed, "subset"))
        # The first so many of each class in a random order are a random subset of it.
        label = self.label[chosen]
        by_class = torch.argsort(label, stable=True)
        counts = torch.bincount(label)
        starts = torch.cumsum(counts, 0) - counts
        place = torch.arange(len(label)) - starts[label[by_class]]
        inside = torch.zeros(len(self.label), dtype=torch.bool)
        inside[chosen[by_class[place < self._quota(self.subset_size)]]] = True
        return order[inside[order]]

    def _quota(self, subset_size: int) -> int:
        """Most samples of one class in a subset."""
        return subset_size // int((torch.bincount(self.label) > 0).sum())

    def parts(self, epoch: int, start: int = 0) -> list[Tensor]:
        """This rank's part of each global batch of an epoch, from batch ``start`` on."""
        chunks = self.order(epoch).split(self.batch_size)[start : self.num_batches]
        return [chunk.tensor_split(self.world)[self.rank] for chunk in chunks]

    def partners(self, epoch: int) -> Tensor:
        """For each training sample another random one with the same given label, int64 (N,)."""
        members = torch.argsort(self.label, stable=True)
        counts = torch.bincount(self.label)
        starts = torch.cumsum(counts, 0) - counts
        rng = generator(self.seed, "partner", epoch)
        draws = torch.rand(len(self.label), generator=rng, dtype=torch.float64)
        return members[starts[self.label] + (draws * counts[self.label]).long()]


class _EpochBatches:
    """What both training loaders have in common: epochs, position, resuming."""

    def __init__(self, plan: EpochPlan, views: Sequence[View], partner: bool) -> None:
        self.plan = plan
        self.views = tuple(views)
        self.partner = partner
        self._next = 0
        self._resume: tuple[int, int] | None = None
        self.epoch = 0
        # Lightning announces epochs to an object of this name.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.num_batches

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume = (state["epoch"], state["next"])

    def __iter__(self) -> Iterator[Batch]:
        epoch, start = self._resume or (-1, 0)
        self._resume = None
        start = start if epoch == self.epoch else 0
        for number, batch in enumerate(self._deal(start), start):
            # A checkpoint written after this batch must go on with the next one.
            self._next = (number + 1) % len(self)
            yield batch

    def _deal(self, start: int) -> Iterator[Batch]:
        raise NotImplementedError

    def _draws(self, device: torch.device) -> list[tuple[View, list[Tensor]]]:
        """Each view with its draws of this epoch; the partner's is the last."""
        count, seed = len(self.plan.label), self.plan.seed
        # The first view draws without a name, so that asking for more views does not change it.
        names: list[tuple[str | int, ...]] = [
            () if number == 0 else ("view", number) for number in range(len(self.views))
        ]
        pairs = list(zip(self.views, names))
        if self.partner:
            pairs.append((self.views[0], ("partner",)))
        return [
            (view, [rows.to(device) for rows in draw_all(view, count, seed, self.epoch, *name)]) for view, name in pairs
        ]


class ArrayBatches(_EpochBatches):
    """One epoch after the other of shuffled, augmented batches from images in memory.

    Args:
        images: uint8 (N, C, H, W), on the device where batches shall be made.
        label: Observed labels, int64 (N,), on the same device.
        normalise: Applied last.
        plan: What is dealt.
        views: Views of each sample; the first is ``Batch.image``.
        partner: Whether each sample brings another one with the same given label.
    """

    def __init__(
        self,
        images: Tensor,
        label: Tensor,
        normalise: Normalise,
        plan: EpochPlan,
        views: Sequence[View] = (View(),),
        partner: bool = False,
    ) -> None:
        super().__init__(plan, views, partner)
        self.images = images
        self.label = label
        self._normalise = normalise.to(images.device)

    def _deal(self, start: int) -> Iterator[Batch]:
        device = self.images.device
        draws = self._draws(device)
        partners = self.plan.partners(self.epoch).to(device) if self.partner else None
        for part in self.plan.parts(self.epoch, start):
            index = part.to(device)
            pixels = self.images.index_select(0, index)
            images = [self._view(number, pixels, index, *draws[number]) for number in range(len(self.views))]
            partner = partner_image = None
            if partners is not None:
                partner = partners[index]
                partner_image = self._view(len(self.views), self.images.index_select(0, partner), index, *draws[-1])
            yield Batch(images[0], self.label[index], index, tuple(images[1:]), partner, partner_image)

    def _view(self, number: int, pixels: Tensor, index: Tensor, view: View, draws: Sequence[Tensor]) -> Tensor:
        if view.sample is not None:
            keys = [(self.plan.seed, self.epoch, int(one), number) for one in index]
            pixels = torch.stack([_seeded(view, image, key) for image, key in zip(pixels, keys)])
        return self._normalise(apply_batch(view, pixels, [rows[index] for rows in draws]))


def _seeded(view: View, image: Tensor, key: tuple[int, int, int, int]) -> Tensor:
    """Run a view's stage for single images with draws of its own; torch's random state stays as it was."""
    assert view.sample is not None
    seed, epoch, index, number = key
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "sample", epoch, index, number))
        return view.sample(image)


class _Decoded(Dataset):
    """Decodes an image once and makes the per-image stage of all its views.

    Keys carry the epoch, so that nothing else in the workers' copy of this object has to change.
    """

    def __init__(
        self, images: LazyImages, channels: int, views: Sequence[View], seed: int, cover: tuple[int, int] | None
    ) -> None:
        self.images = images
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
        return pil_to_tensor(image if self.cover is None else cover(image, self.cover, self.images.name(index)))

    def _view(self, number: int, view: View, pixels: Tensor, epoch: int, index: int) -> Tensor:
        return pixels if view.sample is None else _seeded(view, pixels, (self.seed, epoch, index, number))


# Epoch, index and partner's index (-1 for none) of a sample.
_Key = tuple[int, int, int]


def _loader(dataset: _Decoded, keys: list[list[_Key]], num_workers: int, pin: bool) -> DataLoader:
    """One pass of workers over batches of keys."""
    return DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=num_workers,
        # Workers that live on are stopped late and, when a cycle of references is collected, only after seconds.
        persistent_workers=False,
        pin_memory=pin,
        # The loader draws a seed for its workers; from its own generator, so that the network's draws stay as they are.
        generator=torch.Generator().manual_seed(0),
    )


class FileBatches(_EpochBatches):
    """One epoch after the other of shuffled, augmented batches from files.

    Workers decode each image once per epoch and run the per-image stage of its views; the rest follows on whole batches
    on the device that trains.

    Args:
        images: The images.
        channels: 1 or 3.
        label: Observed labels, int64 (N,), on the device where batches shall be made.
        normalise: Applied last.
        plan: What is dealt.
        views: Views of each sample; the first is ``Batch.image``.
        partner: Whether each sample brings another one with the same given label.
        cover: Height and width that images are scaled and cropped to right after decoding, as ``decode_all`` does it;
            None leaves that to the views.
        num_workers: Worker processes; 0 decodes in this one.
    """

    def __init__(
        self,
        images: LazyImages,
        channels: int,
        label: Tensor,
        normalise: Normalise,
        plan: EpochPlan,
        views: Sequence[View],
        partner: bool = False,
        cover: tuple[int, int] | None = None,
        num_workers: int = 2,
    ) -> None:
        super().__init__(plan, views, partner)
        self.label = label
        self._normalise = normalise.to(label.device)
        self._dataset = _Decoded(images, channels, self.views, plan.seed, cover)
        self._num_workers = num_workers

    def _deal(self, start: int) -> Iterator[Batch]:
        device = self.label.device
        draws = self._draws(device)
        partners = self.plan.partners(self.epoch) if self.partner else None
        parts = self.plan.parts(self.epoch, start)
        keys = [
            [(self.epoch, one, -1 if partners is None else int(partners[one])) for one in part.tolist()]
            for part in parts
        ]
        loader = _loader(self._dataset, keys, self._num_workers, pin=device.type == "cuda")
        for part, made in zip(parts, loader):
            index = part.to(device)
            images = [
                self._normalise(
                    apply_batch(view, pixels.to(device, non_blocking=True), [rows[index] for rows in table])
                )
                for pixels, (view, table) in zip(made, draws)
            ]
            partner_image = images.pop() if self.partner else None
            partner = None if partners is None else partners[part].to(device)
            yield Batch(images[0], self.label[index], index, tuple(images[1:]), partner, partner_image)


class EvalArrays:
    """Samples in order, without augmentation; rank r of W gets every W-th sample, each exactly once.

    Args:
        images: uint8 (N, C, H, W), on the device where batches shall be made.
        label: int64 (N,), on the same device.
        normalise: Applied last.
        batch_size: Size of this process's batches.
        rank: This process's place.
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
        label: int64 (N,), on the device where batches shall be made.
        normalise: Applied last.
        view: How images are brought to their size.
        cover: See ``FileBatches``.
        batch_size: Size of this process's batches.
        rank: This process's place.
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
        self._parts = torch.arange(rank, len(images), world).split(batch_size)
        self._normalise = normalise.to(label.device)
        keys: list[list[_Key]] = [[(0, one, -1) for one in part.tolist()] for part in self._parts]
        dataset = _Decoded(images, channels, (view,), 0, cover)
        self._loader = _loader(dataset, keys, num_workers, pin=label.device.type == "cuda")

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        for part, (pixels,) in zip(self._parts, self._loader):
            index = part.to(self.label.device)
            yield Batch(self._normalise(pixels.to(self.label.device)), self.label[index], index)
