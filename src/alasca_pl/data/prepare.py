"""What is done to data once, before a run: checked, split, brought to one shape, measured."""

import hashlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.data.arrays import ImageArrays, RawData
from alasca_pl.data.files import ImageFiles, check_images, decode_all, infer_channels, infer_size

log = logging.getLogger(__name__)

Part = ImageArrays | ImageFiles
# Where sizes differ, the nearest of the sizes that the field trains with.
_USUAL_SIZES = (28, 32, 64, 224)


def collect_parts(raw: RawData, check: str, on_corrupt: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Name the parts of a data set and look at their files.

    Args:
        raw: What a reader brought.
        check: ``full``, ``header`` or ``none``; see ``NoisyDataModule``.
        on_corrupt: ``error`` or ``skip``.

    Returns:
        The parts by name, without images that cannot be read, and the names of these.

    Raises:
        ValueError: If two parts have one name, or a file cannot be read and none may be left out.
    """
    parts: dict[str, Part] = {"train": raw.train}
    if raw.val is not None:
        parts["val"] = raw.val
    if raw.test is not None:
        parts["test"] = raw.test
    for name, part in raw.extra.items():
        if name in ("train", "val", "test"):
            raise ValueError(f"a further test part cannot be called {name!r}; that name is taken")
        parts[name] = part
    files = {name: part for name, part in parts.items() if isinstance(part, ImageFiles)}
    if not files:
        return parts, raw.skipped
    whole, skipped = check_images(files, check, on_corrupt, class_names=raw.class_names)  # type: ignore[arg-type]
    return parts | whole, raw.skipped + tuple(skipped)


def count_classes(parts: Mapping[str, Part], names: Sequence[str], declared: int | None, name: str) -> int:
    """Find the number of classes K.

    Args:
        parts: By name; the training part decides if nothing else does.
        names: Class names, or none.
        declared: K as the config says it, or None.
        name: Of the data set, for messages.

    Raises:
        ValueError: If names, labels and the declared number contradict each other, or K is below 2.
    """
    largest, where = max((int(part.labels.max()), part_name) for part_name, part in parts.items())
    found = len(names) or int(parts["train"].labels.max()) + 1
    num_classes = found if declared is None else declared
    if num_classes < 2:
        raise ValueError(f"{name} has {num_classes} class(es); a classifier needs at least 2")
    if largest >= num_classes:
        where = {"train": "training", "val": "validation"}.get(where, where)
        raise ValueError(
            f"the {where} part of {name} holds label {largest}, but with {num_classes} classes labels must "
            f"lie in 0 to {num_classes - 1}; "
            "correct the data or data.num_classes"
        )
    empty = sorted(set(range(num_classes)) - set(parts["train"].labels.tolist()))
    if empty and declared is None:
        shown = ", ".join(str(names[one]) if names else str(one) for one in empty[:5])
        log.warning("%s has no training image of %d class(es): %s", name, len(empty), shown)
    if names and len(names) != num_classes:
        raise ValueError(
            f"data.num_classes says {num_classes}, but {name} has {len(names)} classes ({', '.join(names[:5])}, ...); "
            "set it to null"
        )
    return num_classes


def split_parts(
    parts: dict[str, Part], num_val: int | float, max_train: int | None, max_test: int | None, seed: int
) -> tuple[dict[str, Part], dict[str, npt.NDArray[np.int64]]]:
    """Split off validation samples and take subsets.

    Args:
        parts: By name, at least ``train``; a ``val`` of its own is taken whole.
        num_val: Number or share of the training samples.
        max_train: Training samples to keep, evenly over the classes, or None.
        max_test: Samples to keep of each other part, or None.
        seed: Of split and training subset.

    Returns:
        The parts, and for each the positions of its samples where they came from, int64, ascending.

    Raises:
        ValueError: If the numbers do not fit the data.
    """
    whole = parts["train"]
    everything = np.arange(len(whole))
    train, val = everything, everything[:0]
    own_val = "val" in parts
    is_number = isinstance(num_val, int | float) and not isinstance(num_val, bool)
    is_share = is_number and 0 < num_val < 1
    if not is_number or not (is_share or float(num_val).is_integer()):
        raise ValueError(f"data.num_val must be a whole number or a share below 1, got {num_val!r}")
    wanted = round(num_val * len(everything)) if is_share else num_val
    if wanted < 0 or wanted >= len(everything) or (is_share and wanted == 0):
        raise ValueError(
            f"data.num_val is {num_val}, but there are {len(everything)} training samples; choose another number, 0 for none"
        )
    if not own_val and wanted:
        train, val = _stratified(everything, whole.labels, int(wanted), derive_seed(seed, "split"), "data.num_val")
    if max_train is not None and max_train < len(train):
        _, train = _stratified(train, whole.labels, max_train, derive_seed(seed, "subset"), "data.max_train_samples")
    result: dict[str, Part] = {"train": whole.take(train)}
    indices = {"train": train}
    if own_val:
        result["val"], indices["val"] = parts["val"], np.arange(len(parts["val"]))
    elif len(val):
        result["val"], indices["val"] = whole.take(val), val
    for name, part in parts.items():
        if name in ("train", "val"):
            continue
        keep = np.arange(len(part))
        if max_test is not None and max_test < len(part):
            # The same in every run, so that figures can be compared.
            order = torch.randperm(len(part), generator=generator(0, "test subset")).numpy()
            keep = np.sort(order[:max_test])
        result[name], indices[name] = part.take(keep), keep
    return result, indices


def _stratified(
    index: np.ndarray, labels: np.ndarray, size: int, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    try:
        rest, part = train_test_split(index, test_size=size, stratify=labels[index], random_state=seed % 2**32)
    except ValueError as error:
        counts = np.bincount(labels[index])
        rare = int(np.flatnonzero(counts == counts[counts > 0].min())[0])
        raise ValueError(
            f"{what}: cannot take {size} of {len(index)} samples evenly over the classes, of which the smallest, class "
            f"{rare}, has {counts[rare]}: {error}; choose another number"
        ) from error
    return np.sort(rest), np.sort(part)


def find_shape(
    parts: Mapping[str, Part], image_size: int | Sequence[int] | None, channels: int | None
) -> tuple[tuple[int, int], int, bool]:
    """Find the shape of images that networks are given.

    Args:
        parts: By name; the training part decides.
        image_size: Height and width, or one number for both, or None to ask the images.
        channels: 1 or 3, or None to ask the images.

    Returns:
        (height, width), channels, and whether files must be brought to that size.

    Raises:
        ValueError: If what is asked for is no shape, or is not that of images in memory.
    """
    train = parts["train"]
    if isinstance(train, ImageArrays):
        height, width, found = train.images.shape[1:]
        asked = _pair(image_size)
        if (asked is not None and asked != (height, width)) or channels not in (None, found):
            raise ValueError(
                f"the images are {height} x {width} with {found} channel(s); data.image_size and data.channels are for "
                "images from files, set them to null"
            )
        return (height, width), found, False
    if channels not in (None, 1, 3):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
    height, width, alike = infer_size(train)
    for part in parts.values():
        if isinstance(part, ImageFiles):
            other = infer_size(part)
            alike = alike and other == (height, width, True)
    size = _pair(image_size)
    if size is None:
        usual = min(_USUAL_SIZES, key=lambda one: abs(np.log(one / min(height, width))))
        size = (height, width) if alike else (usual, usual)
        if not alike:
            log.info("images differ in size; all are brought to %d x %d, data.image_size says otherwise", *size)
    return size, channels or infer_channels(train), not (alike and size == (height, width))


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(one, int) and one >= 1 for one in pair):
        raise ValueError(f"data.image_size must be one or two whole numbers of at least 1, got {size!r}")
    return pair


def load_parts(
    parts: dict[str, Part], size: tuple[int, int], channels: int, loader: str, limit_mb: int, num_workers: int
) -> dict[str, Part]:
    """Decode files into memory where asked for, or where they fit.

    Args:
        parts: By name.
        size: Height and width.
        channels: 1 or 3.
        loader: ``arrays``, ``files`` or ``auto``; see ``NoisyDataModule``.
        limit_mb: For ``auto``, in megabytes.
        num_workers: Processes that decode.
    """
    files = {name: part for name, part in parts.items() if isinstance(part, ImageFiles)}
    need = sum(len(part) for part in files.values()) * size[0] * size[1] * channels
    if not files or loader == "files" or (loader == "auto" and need > limit_mb * 1e6):
        return parts
    return parts | {name: decode_all(part, size, channels, num_workers) for name, part in files.items()}


def data_digest(train: Part) -> str:
    """Return a hash by which the same training images are known again: of pixels, or of file names and sizes."""
    if isinstance(train, ImageFiles):
        return f"files:{train.images.fingerprint()}"
    content = hashlib.sha256(str(train.images.shape).encode())
    content.update(np.ascontiguousarray(train.images).data)
    return f"pixels:{content.hexdigest()}"


def normalisation(
    images: Tensor | None, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Choose what pixels scaled to [0, 1] are shifted and divided by.

    Args:
        images: uint8 (n, C, H, W) to measure on, or None if both are given.
        channels: C.
        mean: One number per channel, or None to measure it.
        std: Likewise.

    Returns:
        Mean and standard deviation, float32 (C,).

    Raises:
        ValueError: If a given list does not fit.
    """
    for what, given in (("mean", mean), ("std", std)):
        if given is None:
            continue
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError(f"data.{what} must be a list with one number per channel or null, got {given!r}")
        if len(given) != channels:
            raise ValueError(f"data.{what} has {len(given)} values, but the images have {channels} channel(s)")
    if images is not None:
        # Whole numbers add up without rounding, so any order of the sums gives the same constants. From the histogram,
        # because a copy of all pixels as wide numbers would not fit into memory.
        levels = torch.arange(256, dtype=torch.float64)
        counts = torch.stack(
            [torch.bincount(images[:, c].reshape(-1), minlength=256) for c in range(channels)]
        ).double()
        total = counts.sum(dim=1)
        measured_mean = counts @ levels / total
        measured_std = (counts @ levels**2 / total - measured_mean**2).clamp_min(1.0).sqrt()
    to_use_mean = measured_mean / 255 if mean is None else torch.tensor(mean)
    to_use_std = measured_std / 255 if std is None else torch.tensor(std)
    if not bool((to_use_std > 0).all()):
        raise ValueError(f"data.std must be above 0, got {list(std or [])}")
    return to_use_mean.float(), to_use_std.float()
