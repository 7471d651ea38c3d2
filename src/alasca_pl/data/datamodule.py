"""From a reader to batches: split, noise, normalisation, loaders."""

from collections.abc import Callable, Sequence

import lightning as L
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from alasca_pl.core.distributed import rank, world_size
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import DataFacts
from alasca_pl.data.arrays import ImageArrays, RawData
from alasca_pl.data.batches import EvalBatches, TrainBatches
from alasca_pl.data.transforms import CropFlip
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.noise.model import NoiseModel


class ArrayDataModule(L.LightningDataModule):
    """Data sets that fit into memory as one uint8 array; batches are made on the device that trains.

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
        num_classes: K, or None to take the largest label + 1.
        num_samples: N after the split, or None; if given, the data must agree.
        num_val: Samples split off for validation, evenly over the classes, unless the reader brings its own part.
        noisy_val: Whether validation labels carry the same kind of noise, as they would where nobody has clean labels.
        max_train_samples: Keep a random subset of this size, evenly over the classes; None keeps all.
        trusted_labels: Whether the labels of the data set are clean. If not, and no noise is added, nothing that needs
            clean labels is measured.
        mean: Per channel of pixels scaled to [0, 1], or None to measure it on the training part.
        std: Likewise.
        augment: Augmentation of training images, or None.
        drop_last: Leave out a last batch that is smaller.

    Attributes:
        facts: What the rest of the program must know of the data.
        noisy_labels: Labels of the training part.
        val_labels: Labels of the validation part, or None without one.

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
        num_val: int = 0,
        noisy_val: bool = True,
        max_train_samples: int | None = None,
        trusted_labels: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: CropFlip | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        for what, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if value < 1:
                raise ValueError(f"{what} must be at least 1, got {value}")
        raw = reader()
        num_classes = _count_classes(raw, num_classes, name)
        self.name = name
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.augment = augment
        self.drop_last = drop_last
        train_index, val_index = _split(raw, num_val, max_train_samples, split_seed)
        train = raw.train.take(train_index)
        if raw.val is not None:
            val: ImageArrays | None = raw.val
            val_index = np.arange(len(raw.val))
        else:
            val = raw.train.take(val_index) if len(val_index) else None
        if num_samples is not None and max_train_samples is None and len(train) != num_samples:
            raise ValueError(
                f"data.num_samples says {num_samples}, but {name} has {len(train)} training samples after the split; "
                "correct it, or set it to null"
            )
        self.noisy_labels = noise.draw(train.labels, train_index, num_classes, "train", trusted_labels)
        self.val_labels: NoisyLabels | None = None
        if val is not None:
            of_val = noise if noisy_val else NoiseModel()
            self.val_labels = of_val.draw(val.labels, val_index, num_classes, "val", trusted_labels)
        self._images = {"train": _to_tensor(train), "test": _to_tensor(raw.test)}
        self._labels = {"train": torch.from_numpy(self.noisy_labels.label), "test": torch.from_numpy(raw.test.labels)}
        if val is not None and self.val_labels is not None:
            self._images["val"] = _to_tensor(val)
            self._labels["val"] = torch.from_numpy(self.val_labels.label)
        self._mean, self._std = _normalisation(self._images["train"], mean, std)
        self.facts = DataFacts(
            name=name,
            num_classes=num_classes,
            num_samples=len(train),
            image_shape=(train.images.shape[3], train.images.shape[1], train.images.shape[2]),
            noise_digest=self.noisy_labels.digest,
            class_names=raw.class_names or tuple(str(k) for k in range(num_classes)),
            mean=tuple(self._mean.tolist()),
            std=tuple(self._std.tolist()),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each part."""
        return {part: len(labels) for part, labels in self._labels.items()}

    def check_processes(self, world: int) -> None:
        """Raise ``ValueError`` unless batches and parts can be dealt to so many processes."""
        if self.batch_size % world:
            raise ValueError(
                f"data.batch_size {self.batch_size} is the global batch and cannot be split over {world} processes; "
                f"choose a multiple of {world}, or another trainer.devices"
            )
        if self.batch_size > self.facts.num_samples:
            raise ValueError(
                f"data.batch_size {self.batch_size} exceeds the {self.facts.num_samples} training samples; choose a smaller one"
            )
        rest = self.facts.num_samples % self.batch_size
        if 0 < rest < 2 * world and not self.drop_last:
            raise ValueError(
                f"the last batch of an epoch has only {rest} of {self.batch_size} samples for {world} process(es); "
                "choose another data.batch_size or set data.drop_last=true"
            )
        for part, size in self.sizes.items():
            if size < world:
                raise ValueError(f"the {part} part has {size} samples for {world} processes; use fewer trainer.devices")

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def _to_device(self, part: str) -> tuple[Tensor, Tensor]:
        # Moved once: all batches of the run are then gathered where the network is.
        device = self._device()
        self._images[part] = self._images[part].to(device)
        self._labels[part] = self._labels[part].to(device)
        return self._images[part], self._labels[part]

    def train_dataloader(self) -> TrainBatches:
        images, label = self._to_device("train")
        return TrainBatches(
            images,
            label,
            self._mean,
            self._std,
            self.batch_size,
            derive_seed(self.seed, "batches"),
            self.augment,
            self.drop_last,
            rank(),
            world_size(),
        )

    def eval_batches(self, part: str) -> EvalBatches:
        """Batches of a part (``train``, ``val`` or ``test``) in order and without augmentation.

        Raises:
            ValueError: If there is no such part.
        """
        if part not in self._images:
            raise ValueError(f"{self.name} has no part {part!r}; choose one of {', '.join(self._images)}")
        images, label = self._to_device(part)
        return EvalBatches(images, label, self._mean, self._std, self.eval_batch_size, rank(), world_size())

    def val_dataloader(self) -> dict[str, EvalBatches]:
        """Validation and test part by name; both are measured after every epoch."""
        return {part: self.eval_batches(part) for part in ("val", "test") if part in self._images}


def _count_classes(raw: RawData, declared: int | None, name: str) -> int:
    parts = {"training": raw.train, "validation": raw.val, "test": raw.test}
    largest, where = max((int(part.labels.max()), name) for name, part in parts.items() if part is not None)
    num_classes = int(raw.train.labels.max()) + 1 if declared is None else declared
    if num_classes < 2:
        raise ValueError(f"{name} has {num_classes} class(es); a classifier needs at least 2")
    if largest >= num_classes:
        raise ValueError(
            f"the {where} part of {name} holds label {largest}, but with {num_classes} classes labels must "
            f"lie in 0 to {num_classes - 1}; "
            "correct the data or data.num_classes"
        )
    return num_classes


def _split(raw: RawData, num_val: int, max_train: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    everything = np.arange(len(raw.train))
    none = everything[:0]
    train, val = everything, none
    if num_val < 0 or num_val >= len(everything):
        raise ValueError(f"data.num_val is {num_val}, but there are {len(everything)} training samples")
    if raw.val is None and num_val:
        train, val = _stratified(everything, raw.train.labels, num_val, derive_seed(seed, "split"))
    if max_train is not None and max_train < len(train):
        if max_train < 1:
            raise ValueError(f"data.max_train_samples must be at least 1, got {max_train}")
        _, train = _stratified(train, raw.train.labels, max_train, derive_seed(seed, "subset"))
    return train, val


def _stratified(index: np.ndarray, labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        rest, part = train_test_split(index, test_size=size, stratify=labels[index], random_state=seed % 2**32)
    except ValueError as error:
        raise ValueError(f"cannot take {size} of {len(index)} samples evenly over the classes: {error}") from error
    return np.sort(rest), np.sort(part)


def _to_tensor(arrays: ImageArrays) -> Tensor:
    return torch.from_numpy(arrays.images).permute(0, 3, 1, 2).contiguous()


def _normalisation(images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[Tensor, Tensor]:
    channels = images.shape[1]
    for what, given in (("mean", mean), ("std", std)):
        if given is not None and len(given) != channels:
            raise ValueError(f"data.{what} has {len(given)} values, but the images have {channels} channel(s)")
    if mean is None or std is None:
        # Whole numbers add up without rounding, so any order of the sums gives the same constants.
        values = images.transpose(0, 1).flatten(1)
        measured_mean = values.sum(dim=1, dtype=torch.int64) / values.shape[1]
        squares = (values.to(torch.int64) ** 2).sum(dim=1) / values.shape[1]
        measured_std = (squares - measured_mean**2).clamp_min(1.0).sqrt()
    to_use_mean = measured_mean / 255 if mean is None else torch.tensor(mean)
    to_use_std = measured_std / 255 if std is None else torch.tensor(std)
    if not bool((to_use_std > 0).all()):
        raise ValueError(f"data.std must be above 0, got {list(std or [])}")
    return to_use_mean.float(), to_use_std.float()
