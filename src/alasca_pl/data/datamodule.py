"""From a reader to batches: split, noise, normalisation, loaders."""

from collections.abc import Callable, Sequence
from typing import Literal

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.distributed import rank, world_size
from alasca_pl.core.normalise import Normalise
from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.core.types import DataFacts
from alasca_pl.data.batches import ArrayBatches, FileBatches
from alasca_pl.data.decode import decode_all
from alasca_pl.data.eval_batches import EvalArrays, EvalFiles
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.samples import ImageArrays, ImageFiles, RawData
from alasca_pl.data.shapes import data_digest, find_shape, load_parts, normalisation
from alasca_pl.data.splits import collect_parts, count_classes, split_parts
from alasca_pl.data.transforms import SMALL, AugmentName, View, make_view
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import NoiseModel, Pixels, Samples

# So many images tell mean and standard deviation; decoding all of them would take long.
_NORMALISATION_SAMPLE = 2000


class NoisyDataModule(L.LightningDataModule):
    """Images and labels for training and measuring.

    Reading, splitting and drawing noise happen once, at construction, each from its own random stream: every method,
    process and epoch sees the same split and the same wrong labels.

    Args:
        name: Name for records.
        reader: Called without arguments, returns ``RawData``.
        noise: Model of wrong labels, applied to the training part and, with ``noisy_val``, from its own stream to the
            validation part. Test labels stay as they are.
        seed: The run's seed, for order and augmentation.
        split_seed: Seed of the split.
        batch_size: Size of the global batch; every process takes its part.
        eval_batch_size: Size of one process's evaluation batches.
        num_classes: K, or None to take the number of class names, else the largest label + 1.
        num_samples: N after the split, or None; if given, the data must agree.
        num_val: Samples split off for validation, evenly over the classes, unless the reader brings its own part: a
            number, or a share below 1.
        noisy_val: Whether validation labels carry the same kind of noise, as they would where nobody has clean labels.
        max_train_samples: Keep a random subset of this size, evenly over the classes; None keeps all.
        max_test_samples: Measure on a fixed random subset of the test part; None measures on all of it.
        labels_are_clean: Whether the labels of the data set are clean. If not, none are known to be clean and no noise is
            added, nothing that needs clean labels is measured.
        mean: Per channel of pixels scaled to [0, 1], or None to measure it on the training part, on at most 2,000 images.
        std: Likewise.
        augment: Augmentation of training images: ``none``, ``weak`` or ``strong``, see ``make_view``.
        padding: See ``make_view``.
        flip: See ``make_view``.
        drop_last: Leave out a last batch that is smaller.
        subset_size: See ``EpochPlan``.
        subset_redraw: See ``EpochPlan``.
        image_size: Height and width, one number for both, of images from files; None takes their own if all are alike,
            else the nearest usual size.
        channels: 1 or 3, for images from files; None asks the images.
        loader: ``arrays`` decodes all files once and keeps them in memory; ``files`` decodes them in workers each epoch;
            ``auto`` takes arrays while all parts together need no more than ``memory_limit_mb``.
        memory_limit_mb: Limit for ``auto``, in megabytes.
        num_workers: Worker processes that decode files, per process of the run.
        check: What is looked at before training: ``full`` decodes each file, ``header`` reads its header, ``none``
            nothing.
        on_corrupt: ``error`` stops at images that cannot be read; ``skip`` leaves them out and says so.

    Attributes:
        facts: What the rest of the program must know of the data.
        noisy_labels: Labels of the training part.
        val_labels: Labels of the validation part, or None without one.
        data_digest: Hash of the data set's training images before any split: of pixels if it brings arrays, else of file
            names and sizes.
        skipped: Names of images that were left out because they cannot be read.

    Raises:
        ValueError: If a value does not fit the data.
    """

    def __init__(
        self,
        name: str,
        reader: Callable[[], RawData],
        noise: NoiseModel,
        seed: int = 0,
        split_seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        num_classes: int | None = None,
        num_samples: int | None = None,
        num_val: int | float = 0,
        noisy_val: bool = True,
        max_train_samples: int | None = None,
        max_test_samples: int | None = None,
        labels_are_clean: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: AugmentName | None = None,
        padding: int | None = None,
        flip: bool = True,
        drop_last: bool = False,
        subset_size: int | None = None,
        subset_redraw: bool = True,
        image_size: int | Sequence[int] | None = None,
        channels: int | None = None,
        loader: Literal["auto", "arrays", "files"] = "auto",
        memory_limit_mb: int = 2000,
        num_workers: int = 2,
        check: Literal["full", "header", "none"] = "full",
        on_corrupt: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__()
        for what, number, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("max_train_samples", max_train_samples, 1),
            ("max_test_samples", max_test_samples, 1),
            ("subset_size", subset_size, 1),
            ("padding", padding, 0),
            ("memory_limit_mb", memory_limit_mb, 0),
            ("num_workers", num_workers, 0),
            ("split_seed", split_seed, 0),
        ):
            may_be_null = what in ("max_train_samples", "max_test_samples", "subset_size", "padding")
            _check_number(f"data.{what}", number, least, may_be_null)
        for what, flag in (
            ("noisy_val", noisy_val),
            ("labels_are_clean", labels_are_clean),
            ("flip", flip),
            ("drop_last", drop_last),
            ("subset_redraw", subset_redraw),
        ):
            if not isinstance(flag, bool):
                raise ValueError(f"data.{what} must be true or false, got {flag!r}")
        for what, value, choices in (
            ("loader", loader, ("auto", "arrays", "files")),
            ("check", check, ("full", "header", "none")),
            ("on_corrupt", on_corrupt, ("error", "skip")),
        ):
            if value not in choices:
                raise ValueError(f"unknown data.{what} {value!r}; choose one of {', '.join(choices)}")
        raw = reader()
        self.name = name
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.drop_last = drop_last
        self.num_workers = num_workers
        self._subset = (subset_size, subset_redraw)
        self._augment = (augment, padding, flip)
        parts, self.skipped = collect_parts(raw, check, on_corrupt)
        num_classes = count_classes(parts, raw.class_names, num_classes, name)
        self.data_digest = data_digest(parts["train"])
        parts, indices = split_parts(parts, num_val, max_train_samples, max_test_samples, split_seed)
        if subset_size is not None and subset_size < num_classes:
            raise ValueError(
                f"data.subset_size is {subset_size}, which is less than one of each of {num_classes} classes"
            )
        self._size, self._channels, fit = find_shape(parts, image_size, channels)
        self._fit = fit
        self._parts = load_parts(parts, self._size, self._channels, loader, memory_limit_mb, num_workers)
        train = self._parts["train"]
        if num_samples is not None and max_train_samples is None and len(train) != num_samples:
            raise ValueError(
                f"data.num_samples says {num_samples}, but {name} has {len(train)} training samples after the split; "
                "correct it, or set it to null"
            )

        def draw(part: str, model: NoiseModel) -> NoisyLabels:
            data = self._parts[part]
            own = part == "val" and raw.val is not None
            samples = Samples(data.labels, indices[part], num_classes, part, own, self._pixels(part), self.data_digest)
            return model.draw(samples, data.clean, labels_are_clean)

        self.noisy_labels = draw("train", noise)
        self.val_labels: NoisyLabels | None = None
        if "val" in self._parts:
            self.val_labels = draw("val", noise if noisy_val else NoiseModel())
        self._images: dict[str, Tensor] = {
            part: torch.from_numpy(data.images).permute(0, 3, 1, 2).contiguous()
            for part, data in self._parts.items()
            if isinstance(data, ImageArrays)
        }
        self._labels = {
            part: torch.from_numpy(data.labels if data.clean is None else data.clean)
            for part, data in self._parts.items()
        }
        self._labels["train"] = torch.from_numpy(self.noisy_labels.label)
        if self.val_labels is not None:
            self._labels["val"] = torch.from_numpy(self.val_labels.label)
        pixels = None if mean is not None and std is not None else self._pixel_sample()
        self._mean, self._std = normalisation(pixels, self._channels, mean, std)
        self.facts = DataFacts(
            name=name,
            num_classes=num_classes,
            num_samples=len(train),
            image_shape=(self._channels, *self._size),
            noise_digest=self.noisy_labels.digest,
            class_names=raw.class_names or tuple(str(k) for k in range(num_classes)),
            mean=tuple(self._mean.tolist()),
            std=tuple(self._std.tolist()),
            eval_splits=tuple(part for part in self._parts if part != "train"),
            realised_rate=self.noisy_labels.realised_rate,
            class_counts=tuple(np.bincount(self.noisy_labels.label, minlength=num_classes).tolist()),
        )
        self._make_view(augment)
        self._views: tuple[str, ...] = ("default",)
        self._partner = False

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each part."""
        return {part: len(labels) for part, labels in self._labels.items()}

    def describe(self) -> list[str]:
        """Say in lines of text what was found: parts, classes, images, normalisation."""
        names = self.facts.class_names
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        train = self._parts["train"]
        workers = f"by {self.num_workers} workers" if self.num_workers else "in this process"
        where = "in memory" if isinstance(train, ImageArrays) else f"decoded each epoch {workers}"
        numbers = ", ".join(f"{size:,} {part}" for part, size in self.sizes.items())
        colour = {1: "grey", 3: "RGB"}[self._channels]
        lines = [
            f"{self.name}: {numbers}; {len(names)} classes: {listed}",
            f"images: {self._size[0]} x {self._size[1]}, {colour}, {where}, augmentation {self._augment[0] or 'none'}",
            f"normalisation: mean {_numbers(self.facts.mean)}, std {_numbers(self.facts.std)}",
        ]
        if self.skipped:
            lines.append(f"left out because they cannot be read: {len(self.skipped)} images")
        return lines

    def request(self, views: Sequence[str] = ("default",), partner: bool = False) -> None:
        """Say what training batches must bring; see ``Step.views`` and ``InputMixer.partners``.

        Raises:
            ValueError: If a view is unknown.
        """
        for view in views:
            self._named_view(view)
        self._views, self._partner = tuple(views), partner

    def check_processes(self, world: int) -> None:
        """Raise ``ValueError`` unless batches and parts can be dealt to so many processes."""
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
        for part, count in self.sizes.items():
            if count < world:
                raise ValueError(
                    f"the {part} part has {count} samples for {world} processes; use fewer trainer.devices"
                )

    def train_dataloader(self) -> ArrayBatches | FileBatches:
        label = self._label_on_device("train")
        plan = self._plan(world_size(), rank())
        views = [self._named_view(view) for view in self._views]
        train = self._parts["train"]
        if isinstance(train, ImageArrays):
            return ArrayBatches(self._on_device("train"), label, self._normalise(), plan, views, self._partner)
        return FileBatches(
            train.images,
            self._channels,
            label,
            self._normalise(),
            plan,
            views,
            self._partner,
            self._cover(),
            self.num_workers,
        )

    def eval_batches(self, part: str) -> EvalArrays | EvalFiles:
        """Batches of a part (``train``, ``val``, ``test``, ...) in order and without augmentation.

        Raises:
            ValueError: If there is no such part.
        """
        if part not in self._parts:
            raise ValueError(f"{self.name} has no part {part!r}; choose one of {', '.join(self._parts)}")
        label = self._label_on_device(part)
        data = self._parts[part]
        if isinstance(data, ImageArrays):
            return EvalArrays(
                self._on_device(part), label, self._normalise(), self.eval_batch_size, rank(), world_size()
            )
        return EvalFiles(
            data.images,
            self._channels,
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
        """Method that are measured after every epoch, by name."""
        return {part: self.eval_batches(part) for part in self.facts.eval_splits}

    def _make_view(self, name: AugmentName | None) -> View:
        _, padding, flip = self._augment
        from_files = isinstance(self._parts["train"], ImageFiles)
        return make_view(name, self._size, from_files and self._fit and self._cover() is None, padding, flip)

    def _cover(self) -> tuple[int, int] | None:
        return self._size if self._fit and max(self._size) <= SMALL else None

    def _named_view(self, name: str) -> View:
        return self._make_view(self._augment[0] if name == "default" else name)  # type: ignore[arg-type]

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
        return Normalise(self._mean, self._std)

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def _on_device(self, part: str) -> Tensor:
        # Moved once: all batches of the run are then gathered where the network is.
        self._images[part] = self._images[part].to(self._device())
        return self._images[part]

    def _label_on_device(self, part: str) -> Tensor:
        self._labels[part] = self._labels[part].to(self._device())
        return self._labels[part]

    def _pixels(self, part: str) -> Pixels:
        data = self._parts[part]
        if isinstance(data, ImageArrays):
            return lambda start, stop: data.images[start:stop]
        files = data
        return lambda start, stop: self._decoded(files, np.arange(start, stop))

    def _decoded(self, files: ImageFiles, index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return decode_all(files.take(index), self._size, self._channels, self.num_workers).images

    def _pixel_sample(self) -> Tensor:
        """Images to measure the normalisation on, uint8 (n, C, H, W), the same from memory and from files."""
        train = self._parts["train"]
        order = torch.randperm(len(train), generator=generator(0, "normalisation"))[:_NORMALISATION_SAMPLE]
        index = np.sort(order.numpy())
        if isinstance(train, ImageArrays):
            return self._images["train"][torch.from_numpy(index)]
        return torch.from_numpy(self._decoded(train, index)).permute(0, 3, 1, 2)


def _check_number(what: str, value: object, least: int, may_be_null: bool) -> None:
    if value is None and may_be_null:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        null = " or null" if may_be_null else ""
        raise ValueError(f"{what} must be a whole number of at least {least}{null}, got {value!r}")


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3f}" for value in values)
