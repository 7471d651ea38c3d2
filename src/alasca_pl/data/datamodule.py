"""The Lightning data module of prepared data: batches for training and for evaluation."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import rank, world_size
from alasca_pl.core.normalise import Normalise
from alasca_pl.core.seeds import derive_seed
from alasca_pl.data.batches import ArrayBatches, FileBatches
from alasca_pl.data.eval_batches import EvalArrays, EvalFiles
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.prepared import PreparedData
from alasca_pl.data.samples import ImageArrays, ImageFiles
from alasca_pl.data.views import SMALL, Augmentation, View, ViewChoice, describe_view, make_view


class NoisyDataModule(L.LightningDataModule):
    """Batches of prepared data.

    Args:
        prepared: The data.
        seed: The run's seed, for order and augmentation.
        batch_size: Size of the global batch; every process gets an equal number of its samples.
        eval_batch_size: Size of one process's evaluation batches.
        augment: Augmentation of training images: ``none``, ``weak``, ``strong``, or an object; see ``make_view``.
        padding: See ``make_view``.
        flip: See ``make_view``.
        drop_last: Leave out a last batch that is smaller.
        subset_size: See ``EpochPlan``.
        subset_redraw: See ``EpochPlan``.

    Attributes:
        name: Name of the data set.
        facts: See ``PreparedData``, also for the following.
        noisy_labels: Labels of the training split.
        val_labels: Labels of the validation split, or None without one.
        data_digest: Hash of the data set's training images.
        skipped: Names of images that were left out.
        sizes: Number of samples of each split.

    Raises:
        ValueError: If a value is outside its range or does not fit the data.
    """

    def __init__(
        self,
        prepared: PreparedData,
        seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        augment: Augmentation | None = None,
        padding: int | None = None,
        flip: bool = True,
        drop_last: bool = False,
        subset_size: int | None = None,
        subset_redraw: bool = True,
    ) -> None:
        super().__init__()
        check_whole_number("data.batch_size", batch_size, 1)
        check_whole_number("data.eval_batch_size", eval_batch_size, 1)
        check_whole_number("data.padding", padding, 0, may_be_null=True)
        check_whole_number("data.subset_size", subset_size, 1, may_be_null=True)
        num_classes = prepared.facts.num_classes
        if subset_size is not None and subset_size < num_classes:
            raise ValueError(
                f"data.subset_size is {subset_size}, which is fewer than one sample of each of {num_classes} classes"
            )
        self.name, self.facts, self.sizes = prepared.name, prepared.facts, prepared.sizes
        self.noisy_labels, self.val_labels = prepared.noisy_labels, prepared.val_labels
        self.data_digest, self.skipped = prepared.data_digest, prepared.skipped
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.drop_last = drop_last
        self.num_workers = prepared.num_workers
        self._prepared = prepared
        self._subset = (subset_size, subset_redraw)
        self._augment, self._padding, self._flip = augment, padding, flip
        self._images: dict[str, Tensor] = {
            split: torch.from_numpy(data.images).permute(0, 3, 1, 2).contiguous()
            for split, data in prepared.splits.items()
            if isinstance(data, ImageArrays)
        }
        self._labels = {split: torch.from_numpy(labels) for split, labels in prepared.labels.items()}
        try:
            self._make_view(augment)
        except ValueError as error:
            raise ValueError(f"data.augment: {error}") from error
        self._views: tuple[ViewChoice, ...] = ("default",)
        self._partner = False

    @property
    def prepared(self) -> PreparedData:
        """The data."""
        return self._prepared

    def image_names(self, split: str = "train") -> npt.NDArray[np.str_] | None:
        """Names of a split's images within the data set, (n,); None if they do not come from files."""
        return self._prepared.image_names(split)

    def describe(self) -> list[str]:
        """Describe in lines of text what was read, and how training images are augmented."""
        return [*self._prepared.describe(), f"augmentation: {describe_view(self._augment)}"]

    def request(self, views: Sequence[ViewChoice] = ("default",), partner: bool = False) -> None:
        """Set what training batches must contain; see ``Step.views`` and ``InputMixer.partners``.

        Raises:
            ValueError: If a view is unknown.
        """
        for view in views:
            self._requested_view(view)
        self._views, self._partner = tuple(views), partner

    def check_processes(self, world: int) -> None:
        """Raise ``ValueError`` unless every process gets samples of each batch and split."""
        if self.batch_size % world:
            raise ValueError(
                f"data.batch_size {self.batch_size} is the global batch and cannot be split over {world} processes; "
                f"choose a multiple of {world}, or another trainer.devices"
            )
        size = self._plan(1, 0).size
        if self.batch_size > size:
            raise ValueError(
                f"data.batch_size {self.batch_size} exceeds the {size} training samples; choose a smaller one"
            )
        rest = size % self.batch_size
        if 0 < rest < 2 * world and not self.drop_last:
            raise ValueError(
                f"the last batch of an epoch has only {rest} of {self.batch_size} samples for {world} process(es); "
                "choose another data.batch_size or set data.drop_last=true"
            )
        for split, count in self.sizes.items():
            if count < world:
                raise ValueError(
                    f"the {split} split has {count} samples for {world} processes; use fewer trainer.devices"
                )

    def train_dataloader(self) -> ArrayBatches | FileBatches:
        label = self._label_on_device("train")
        plan = self._plan(world_size(), rank())
        views = [self._requested_view(view) for view in self._views]
        train = self._prepared.splits["train"]
        if isinstance(train, ImageArrays):
            return ArrayBatches(self._on_device("train"), label, self._normalise(), plan, views, self._partner)
        return FileBatches(
            train.images,
            self._prepared.channels,
            label,
            self._normalise(),
            plan,
            views,
            self._partner,
            self._cover(),
            self.num_workers,
        )

    def eval_batches(self, split: str) -> EvalArrays | EvalFiles:
        """Batches of a split (``train``, ``val``, ``test``, ...) in order and without augmentation.

        Raises:
            ValueError: If the split does not exist.
        """
        splits = self._prepared.splits
        if split not in splits:
            raise ValueError(f"{self.name} has no split {split!r}; choose one of {', '.join(splits)}")
        label = self._label_on_device(split)
        data = splits[split]
        if isinstance(data, ImageArrays):
            return EvalArrays(
                self._on_device(split), label, self._normalise(), self.eval_batch_size, rank(), world_size()
            )
        return EvalFiles(
            data.images,
            self._prepared.channels,
            label,
            self._normalise(),
            self._make_view("none"),
            self._cover(),
            self.eval_batch_size,
            rank(),
            world_size(),
            self.num_workers,
        )

    def val_dataloader(self) -> dict[str, EvalArrays | EvalFiles]:
        """Batches of the splits that are evaluated after every epoch, by name."""
        return {split: self.eval_batches(split) for split in self.facts.eval_splits}

    def _make_view(self, choice: ViewChoice | None) -> View:
        from_files = isinstance(self._prepared.splits["train"], ImageFiles)
        resize = from_files and self._prepared.needs_resize and self._cover() is None
        return make_view(choice, self._prepared.size, resize, self._padding, self._flip)

    def _cover(self) -> tuple[int, int] | None:
        size = self._prepared.size
        return size if self._prepared.needs_resize and max(size) <= SMALL else None

    def _requested_view(self, choice: ViewChoice) -> View:
        return self._make_view(self._augment if isinstance(choice, str) and choice == "default" else choice)

    def _plan(self, world: int, this: int) -> EpochPlan:
        return EpochPlan(
            torch.from_numpy(self.noisy_labels.label),
            self.batch_size,
            derive_seed(self.seed, "batches"),
            self.drop_last,
            *self._subset,
            rank=this,
            world=world,
        )

    def _normalise(self) -> Normalise:
        return Normalise(self.facts.mean, self.facts.std)

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def _on_device(self, split: str) -> Tensor:
        # Moved once: all batches of the run are then gathered on the network's device.
        self._images[split] = self._images[split].to(self._device())
        return self._images[split]

    def _label_on_device(self, split: str) -> Tensor:
        self._labels[split] = self._labels[split].to(self._device())
        return self._labels[split]
