"""Training batches of both loaders: arrays gathered and augmented on the training device, and files decoded by workers.

They share one plan of an epoch and one contract: the stable index, several views of a sample if a method needs them,
exact resuming within an epoch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from alasca_pl.core.normalise import Normalise
from alasca_pl.core.types import Batch
from alasca_pl.data.images import LazyImages
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.views import View, apply_batch, draw_all
from alasca_pl.data.workers import DecodedViews, decoding_loader, seeded


class _EpochBatches:
    """The common base of both training loaders: epochs, position, resuming."""

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
        for number, batch in enumerate(self._batches(start), start):
            # A checkpoint written after this batch must continue with the next one.
            self._next = (number + 1) % len(self)
            yield batch

    def _batches(self, start: int) -> Iterator[Batch]:
        raise NotImplementedError

    def _draws(self, device: torch.device) -> list[tuple[View, list[Tensor]]]:
        """Each view with its draws of this epoch; the partner's is the last."""
        count, seed = len(self.plan.label), self.plan.seed
        # The first view draws without a name, so that additional views do not change it.
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
    """Epochs of shuffled, augmented batches from images in memory.

    Args:
        images: uint8 (N, C, H, W), on the device where batches are made.
        label: Observed labels, int64 (N,), on the same device.
        normalise: Applied last.
        plan: Which samples an epoch uses.
        views: Views of each sample; the first is ``Batch.image``.
        partner: Whether each sample comes with another one of the same given label.
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

    def _batches(self, start: int) -> Iterator[Batch]:
        device = self.images.device
        draws = self._draws(device)
        partners = self.plan.partners(self.epoch).to(device) if self.partner else None
        for rows in self.plan.rank_batches(self.epoch, start):
            index = rows.to(device)
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
            pixels = torch.stack([seeded(view, image, key) for image, key in zip(pixels, keys)])
        return self._normalise(apply_batch(view, pixels, [rows[index] for rows in draws]))


class FileBatches(_EpochBatches):
    """Epochs of shuffled, augmented batches from files.

    Workers decode each image once per epoch and run the per-image stage of its views; the remaining steps run on whole
    batches on the training device.

    Args:
        images: The images.
        channels: 1 or 3.
        label: Observed labels, int64 (N,), on the device where batches are made.
        normalise: Applied last.
        plan: Which samples an epoch uses.
        views: Views of each sample; the first is ``Batch.image``.
        partner: Whether each sample comes with another one of the same given label.
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
        self._dataset = DecodedViews(images, channels, self.views, plan.seed, cover)
        self._num_workers = num_workers

    def _batches(self, start: int) -> Iterator[Batch]:
        device = self.label.device
        draws = self._draws(device)
        partners = self.plan.partners(self.epoch) if self.partner else None
        batches = self.plan.rank_batches(self.epoch, start)
        keys = [
            [(self.epoch, one, -1 if partners is None else int(partners[one])) for one in rows.tolist()]
            for rows in batches
        ]
        loader = decoding_loader(self._dataset, keys, self._num_workers, pin=device.type == "cuda")
        for own, made in zip(batches, loader):
            index = own.to(device)
            images = [
                self._normalise(
                    apply_batch(view, pixels.to(device, non_blocking=True), [rows[index] for rows in table])
                )
                for pixels, (view, table) in zip(made, draws)
            ]
            partner_image = images.pop() if self.partner else None
            partner = None if partners is None else partners[own].to(device)
            yield Batch(images[0], self.label[index], index, tuple(images[1:]), partner, partner_image)
