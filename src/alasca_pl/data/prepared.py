"""From a reader to samples ready for training: splits, noise, shape and normalisation. Independent of training."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.seeds import generator
from alasca_pl.core.types import DataFacts
from alasca_pl.data.decode import decode_all
from alasca_pl.data.folds import HELD_OUT, fold_of, read_fold
from alasca_pl.data.grey_range import with_grey_range
from alasca_pl.data.images import LazyImages
from alasca_pl.data.samples import ImageArrays, ImageFiles, RawData, Split
from alasca_pl.data.shapes import data_digest, find_shape, load_splits, normalisation
from alasca_pl.data.splits import collect_splits, count_classes, make_splits
from alasca_pl.noise.labels import Labels, NoisyLabels
from alasca_pl.noise.model import NoiseModel, Pixels, Samples
from alasca_pl.noise.planted import plant_errors

# Number of images that mean and standard deviation are measured on; decoding all of them would take long.
_NORMALISATION_SAMPLE = 2000


class PreparedData:
    """A data set that has been read, split, given noisy labels and measured.

    Everything happens once, at construction, and each draw has its own random stream: every method, process and epoch
    sees the same splits and the same noisy labels.

    Args:
        name: Name for records.
        reader: Called without arguments, returns ``RawData``.
        noise: Noise model, applied to the training split and, with ``noisy_val``, from its own stream to the validation
            split. Test labels are not changed.
        split_seed: Seed of the split.
        num_classes: K, or None for the number of class names, else the largest label + 1.
        num_samples: N after the split, or None; if given, the data must agree.
        num_val: Samples split off for validation, stratified by class, unless the reader gives a validation split: a
            number, or a fraction below 1.
        noisy_val: Whether validation labels have the same kind of noise, as in practice, where clean labels are
            unknown.
        max_train_samples: Keep a random subset of this size, stratified by class; None keeps all.
        max_test_samples: Keep a fixed random subset of each test split; None keeps all.
        labels_are_clean: Whether the labels of the data set are clean. If not and no noise is added, clean labels are
            unknown and nothing that needs them is measured.
        mean: Per channel of pixels scaled to [0, 1], or None to measure it on at most 2,000 images of the training split.
        std: Likewise.
        image_size: Height and width, one number for both, of images from files; None keeps their size if all are alike,
            else takes the nearest usual size.
        channels: 1 or 3, for images from files; None infers it from the images.
        grey_range: Smallest and largest grey value of 16-bit images from files, which become 0 and 255; None for 0 and 65535.
        loader: ``arrays`` decodes all files once and keeps them in memory; ``files`` decodes them in workers each epoch;
            ``auto`` means arrays while all splits together need no more than ``memory_limit_mb``.
        memory_limit_mb: Limit for ``auto``, in megabytes.
        num_workers: Worker processes that decode files, per process of the run.
        check: What is checked before training: ``full`` decodes each file, ``header`` reads its header, ``none`` nothing.
        on_corrupt: ``error`` stops at images that cannot be read; ``skip`` leaves them out and logs it.
        plant: Fraction of the training labels in which errors are planted, see ``plant_errors``.
        fold: ``k/n`` leaves fold k of n out of the training split; None leaves out nothing. Noise is drawn before.

    Attributes:
        facts: What the rest of the program must know about the data.
        splits: Samples by name of the split: ``train``, optionally ``val`` and ``test``, and further test splits; ``held_out``
            with ``fold``.
        labels: Labels to train on or to measure against, int64 (N,), by name of the split.
        noisy_labels: Labels of the training split.
        val_labels: Labels of the validation split, or None without one.
        data_digest: Hash of the data set's training images before any split: of pixels if the reader gives arrays, else
            of file names and sizes.
        clean_splits: Test splits that are measured against labels known to be clean.
        skipped: Names of images that were left out because they cannot be read.
        size: Height and width of the images that are passed to networks.
        channels: 1 or 3.
        held_out: Positions in the whole training split of the samples in ``held_out``, int64; None without ``fold``.
        needs_resize: Whether images from files have other sizes and must be resized to ``size``.

    Raises:
        ValueError: If a value does not fit the data.

    Example:
        >>> from alasca_pl.data.digits import read_digits
        >>> from alasca_pl.noise.symmetric import SymmetricNoise
        >>> data = PreparedData("digits", read_digits, SymmetricNoise(0.4), num_val=100)
        >>> data.sizes
        {'train': 1297, 'val': 100, 'test': 400}
        >>> round(data.noisy_labels.realised_rate, 2)
        0.36
    """

    def __init__(
        self,
        name: str,
        reader: Callable[[], RawData],
        noise: NoiseModel,
        split_seed: int = 0,
        num_classes: int | None = None,
        num_samples: int | None = None,
        num_val: int | float = 0,
        noisy_val: bool = True,
        max_train_samples: int | None = None,
        max_test_samples: int | None = None,
        labels_are_clean: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        image_size: int | Sequence[int] | None = None,
        channels: int | None = None,
        grey_range: Sequence[int] | None = None,
        loader: Literal["auto", "arrays", "files"] = "auto",
        memory_limit_mb: int = 2000,
        num_workers: int = 2,
        check: Literal["full", "header", "none"] = "full",
        on_corrupt: Literal["error", "skip"] = "error",
        plant: float = 0.0,
        fold: str | None = None,
    ) -> None:
        check_whole_number("data.max_train_samples", max_train_samples, 1, may_be_null=True)
        check_whole_number("data.max_test_samples", max_test_samples, 1, may_be_null=True)
        check_whole_number("data.memory_limit_mb", memory_limit_mb, 0)
        check_whole_number("data.num_workers", num_workers, 0)
        check_whole_number("data.split_seed", split_seed, 0)
        raw = reader()
        if not isinstance(raw, RawData):
            raise ValueError(f"data.reader gives no RawData, but a value of type {type(raw).__name__}")
        self.name = name
        self.num_workers = num_workers
        splits, self.skipped = collect_splits(raw, check, on_corrupt)
        splits = with_grey_range(splits, grey_range)
        num_classes = count_classes(splits, raw.class_names, num_classes, name)
        self.data_digest = data_digest(splits["train"])
        splits, positions = make_splits(
            splits, num_val, max_train_samples, max_test_samples, split_seed, raw.class_names
        )
        self.size, self.channels, self.needs_resize = find_shape(splits, image_size, channels)
        self._files = {name: split.images for name, split in splits.items() if isinstance(split, ImageFiles)}
        self.splits = load_splits(splits, self.size, self.channels, loader, memory_limit_mb, num_workers)
        train = self.splits["train"]
        # Of a subset only what cannot be: a data set's file states the size without one.
        fits = num_samples in (None, len(train)) or (max_train_samples is not None and num_samples >= len(train))
        if not fits:
            raise ValueError(
                f"data.num_samples is {num_samples}, but {name} has {len(train)} training samples after the split; "
                "correct it, or set it to null"
            )

        def draw(split: str, model: NoiseModel) -> NoisyLabels:
            data = self.splits[split]
            own = split == "val" and raw.val is not None
            pixels = self._pixels(data)
            samples = Samples(data.labels, positions[split], num_classes, split, own, pixels, self.data_digest)
            return model.draw(samples, data.clean, labels_are_clean)

        self.noisy_labels = plant_errors(draw("train", noise), plant, split_seed)
        self.val_labels: NoisyLabels | None = None
        if "val" in self.splits:
            self.val_labels = draw("val", noise if noisy_val else NoiseModel())
        self.labels: dict[str, Labels] = {
            split: data.labels if data.clean is None else data.clean for split, data in self.splits.items()
        }
        self.labels["train"] = self.noisy_labels.label
        if self.val_labels is not None:
            self.labels["val"] = self.val_labels.label
        self.clean_splits = tuple(
            split
            for split, data in self.splits.items()
            if split not in ("train", "val") and (labels_are_clean or data.clean is not None)
        )
        self.held_out: npt.NDArray[np.int64] | None = None
        if fold is not None:
            self._hold_out(*read_fold(fold), split_seed)
            train = self.splits["train"]
        sample = None if mean is not None and std is not None else self._pixel_sample(train)
        to_use_mean, to_use_std = normalisation(sample, self.channels, mean, std)
        self.facts = DataFacts(
            name=name,
            num_classes=num_classes,
            num_samples=len(train),
            image_shape=(self.channels, *self.size),
            noise_digest=self.noisy_labels.digest,
            class_names=raw.class_names or tuple(str(k) for k in range(num_classes)),
            mean=tuple(to_use_mean.tolist()),
            std=tuple(to_use_std.tolist()),
            eval_splits=tuple(split for split in self.splits if split not in ("train", HELD_OUT)),
            realised_rate=self.noisy_labels.realised_rate,
            grey_range=() if grey_range is None else tuple(grey_range),
            class_counts=tuple(np.bincount(self.noisy_labels.label, minlength=num_classes).tolist()),
        )

    def tell_matrix(self) -> None:
        """Add the true transition matrix to the facts, if clean labels are known."""
        matrix = self.noisy_labels.transition_matrix
        if matrix is not None:
            absent = matrix.sum(axis=1) == 0
            matrix[absent] = np.eye(len(matrix))[absent]
            self.facts = self.facts._replace(realised_matrix=tuple(matrix.flatten().tolist()))

    def _hold_out(self, number: int, count: int, seed: int) -> None:
        labels, whole, files = self.noisy_labels, self.splits["train"], self._files.get("train")
        fold = fold_of(labels.label, count, seed)
        self.held_out, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        for name, rows in ((HELD_OUT, self.held_out), ("train", kept)):
            self.splits[name] = whole.take(rows)
            self.labels[name] = labels.label[rows]
            if files is not None:
                self._files[name] = files.take(rows)
        self.noisy_labels = labels.take(kept)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each split."""
        return {split: len(labels) for split, labels in self.labels.items()}

    def images_of(self, split: str) -> LazyImages | None:
        """Images of a split as files; None if they do not come from files."""
        return self._files.get(split)

    def image_names(self, split: str) -> npt.NDArray[np.str_] | None:
        """Names of a split's images within the data set, (n,); None if they do not come from files."""
        images = self._files.get(split)
        return None if images is None else np.array([images.name(i) for i in range(len(images))], dtype=np.str_)

    def describe(self) -> list[str]:
        """Describe in lines of text what was read: splits and classes, images, normalisation."""
        names = self.facts.class_names
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        workers = f"by {self.num_workers} workers" if self.num_workers else "in this process"
        where = "in memory" if isinstance(self.splits["train"], ImageArrays) else f"decoded each epoch {workers}"
        numbers = ", ".join(f"{size:,} {split}" for split, size in self.sizes.items())
        colour = {1: "grey", 3: "RGB"}[self.channels]
        lines = [
            f"{self.name}: {numbers}; {len(names)} classes: {listed}",
            f"images: {self.size[0]} x {self.size[1]}, {colour}, {where}",
            f"normalisation: mean {_numbers(self.facts.mean)}, std {_numbers(self.facts.std)}",
        ]
        if self.skipped:
            lines.append(f"left out because they cannot be read: {len(self.skipped)} images")
        return lines

    def _pixels(self, data: Split) -> Pixels:
        if isinstance(data, ImageArrays):
            return lambda start, stop: data.images[start:stop]
        return lambda start, stop: self._decoded(data, np.arange(start, stop))

    def _decoded(self, files: ImageFiles, index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return decode_all(files.take(index), self.size, self.channels, self.num_workers).images

    def _pixel_sample(self, train: Split) -> Tensor:
        """Images to measure the normalisation on, uint8 (n, C, H, W); from memory and from files they are the same."""
        order = torch.randperm(len(train), generator=generator(0, "normalisation"))[:_NORMALISATION_SAMPLE]
        index = np.sort(order.numpy())
        images = train.images[index] if isinstance(train, ImageArrays) else self._decoded(train, index)
        return torch.from_numpy(images).permute(0, 3, 1, 2)


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3f}" for value in values)
