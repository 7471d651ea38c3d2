"""The splits of a data set: which there are, and how validation samples and subsets are drawn."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split

from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.data.decode import check_images
from alasca_pl.data.samples import ImageFiles, RawData, Split

log = logging.getLogger(__name__)


def collect_parts(raw: RawData, check: str, on_corrupt: str) -> tuple[dict[str, Split], tuple[str, ...]]:
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
    parts: dict[str, Split] = {"train": raw.train}
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


def count_classes(parts: Mapping[str, Split], names: Sequence[str], declared: int | None, name: str) -> int:
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
    parts: dict[str, Split], num_val: int | float, max_train: int | None, max_test: int | None, seed: int
) -> tuple[dict[str, Split], dict[str, npt.NDArray[np.int64]]]:
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
    result: dict[str, Split] = {"train": whole.take(train)}
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
