"""The splits of a data set, and how validation samples and subsets are drawn."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from alasca_pl.core.seeds import derive_seed, generator
from alasca_pl.data.decode import check_images
from alasca_pl.data.names import lookalikes, name_some
from alasca_pl.data.samples import ImageFiles, RawData, Split
from alasca_pl.data.stratify import stratified_split

log = logging.getLogger(__name__)


def collect_splits(raw: RawData, check: str, on_corrupt: str) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Collect the splits of a data set by name and check their files.

    Args:
        raw: What a reader returned.
        check: ``full``, ``header`` or ``none``; see ``PreparedData``.
        on_corrupt: ``error`` or ``skip``.

    Returns:
        The splits by name, without images that cannot be read, and the names of these.

    Raises:
        ValueError: If two splits have the same name, or a file cannot be read and none may be left out.
    """
    splits: dict[str, Split] = {"train": raw.train}
    if raw.val is not None:
        splits["val"] = raw.val
    if raw.test is not None:
        splits["test"] = raw.test
    for name, split in raw.extra.items():
        if name in ("train", "val", "test"):
            raise ValueError(f"a further test split cannot be called {name!r}; that name is already used")
        splits[name] = split
    files = {name: split for name, split in splits.items() if isinstance(split, ImageFiles)}
    if not files:
        return splits, raw.skipped
    whole, skipped = check_images(files, check, on_corrupt, class_names=raw.class_names)  # type: ignore[arg-type]
    return splits | whole, raw.skipped + tuple(skipped)


def count_classes(splits: Mapping[str, Split], names: Sequence[str], declared: int | None, name: str) -> int:
    """Determine the number of classes K.

    Args:
        splits: By name; the training split decides if nothing else does.
        names: Class names, or none.
        declared: K from the config, or None.
        name: Of the data set, for messages.

    Raises:
        ValueError: If names, labels and the declared number contradict each other, K is below 2, or names look the same.
    """
    same = lookalikes(names)
    if same:
        raise ValueError(f"the classes {same[0]!a} and {same[1]!a} of {name} look the same; write them alike")
    similar = lookalikes(names, any_case=True)
    if similar:
        log.warning("the classes %r and %r of %s differ in capital letters only", *similar, name)
    largest, where = max((int(split.labels.max()), name_of) for name_of, split in splits.items())
    found = len(names) or int(splits["train"].labels.max()) + 1
    num_classes = found if declared is None else declared
    if num_classes < 2:
        raise ValueError(f"{name} has {num_classes} class(es); a classifier needs at least 2")
    if largest >= num_classes:
        where = {"train": "training", "val": "validation"}.get(where, where)
        raise ValueError(
            f"the {where} split of {name} holds label {largest}, but with {num_classes} classes labels must "
            f"lie in 0 to {num_classes - 1}; "
            "correct the data or data.num_classes"
        )
    present = np.unique(splits["train"].labels)
    if declared is None and not names and len(present) < num_classes / 2:
        # A single stray label would otherwise decide how large the network's last layer is.
        raise ValueError(
            f"the labels of {name} reach {largest}, but only {len(present)} of {num_classes} classes have a training image; "
            f"number them from 0 to {len(present) - 1}, write names instead of numbers, or confirm with "
            f"data.num_classes={num_classes}"
        )
    empty = np.setdiff1d(np.arange(num_classes), present).tolist()
    if empty and declared is None:
        shown = ", ".join(str(names[one]) if names else str(one) for one in empty[:5])
        log.warning("%s has no training image of %d class(es): %s", name, len(empty), shown)
    if names and len(names) != num_classes:
        raise ValueError(
            f"data.num_classes is {num_classes}, but {name} has {len(names)} classes ({', '.join(names[:5])}, ...); "
            "set it to null"
        )
    return num_classes


def make_splits(
    splits: dict[str, Split],
    num_val: int | float,
    max_train: int | None,
    max_test: int | None,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[dict[str, Split], dict[str, npt.NDArray[np.int64]]]:
    """Split off validation samples and take subsets.

    Args:
        splits: By name, at least ``train``; ``val``, if the data set has one, is kept whole.
        num_val: Number or fraction of the training samples.
        max_train: Training samples to keep, stratified by class, or None.
        max_test: Samples to keep of each other split, or None.
        seed: Of split and training subset.
        names: Class names for messages, or none.

    A class with one image keeps it in the training split.

    Returns:
        The splits, and for each the positions of its samples in the split they come from, int64, ascending.

    Raises:
        ValueError: If the numbers do not fit the data.
    """
    whole = splits["train"]
    everything = np.arange(len(whole))
    train, val = everything, everything[:0]
    own_val = "val" in splits
    is_number = isinstance(num_val, int | float) and not isinstance(num_val, bool)
    is_fraction = is_number and 0 < num_val < 1
    if not is_number or not (is_fraction or float(num_val).is_integer()):
        raise ValueError(f"data.num_val must be a whole number or a fraction below 1, got {num_val!r}")
    wanted = round(num_val * len(everything)) if is_fraction else num_val
    if wanted < 0 or wanted >= len(everything) or (is_fraction and wanted == 0):
        raise ValueError(
            f"data.num_val is {num_val}, but there are {len(everything)} training samples; choose another number, 0 for none"
        )
    if not own_val and wanted:
        train, val = _split_off(everything, whole.labels, int(wanted), derive_seed(seed, "split"), names)
    if max_train is not None and max_train < len(train):
        train = _subset(train, whole.labels, max_train, derive_seed(seed, "subset"), names)
    result: dict[str, Split] = {"train": whole.take(train)}
    indices = {"train": train}
    if own_val:
        result["val"], indices["val"] = splits["val"], np.arange(len(splits["val"]))
    elif len(val):
        result["val"], indices["val"] = whole.take(val), val
    for name, split in splits.items():
        if name in ("train", "val"):
            continue
        keep = np.arange(len(split))
        if max_test is not None and max_test < len(split):
            # The same in every run, so that results can be compared.
            order = torch.randperm(len(split), generator=generator(0, "test subset")).numpy()
            keep = np.sort(order[:max_test])
        result[name], indices[name] = split.take(keep), keep
    return result, indices


def _split_off(
    index: np.ndarray, labels: np.ndarray, size: int, seed: int, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Validation samples, of all classes that have more than one."""
    single = _single(labels[index])
    if single.any():
        log.warning(
            "%d class(es) with one image, which is trained on and not validated: %s",
            single.sum(),
            name_some([_name(label, names) for label in labels[index[single]]]),
        )
    rest, val = _stratified(index[~single], labels, size, seed, "data.num_val", names, fewer_than_classes=True)
    return np.sort(np.concatenate((rest, index[single]))), val


def _subset(index: np.ndarray, labels: np.ndarray, size: int, seed: int, names: Sequence[str]) -> np.ndarray:
    """Samples of all classes; those with one keep it."""
    single = _single(labels[index])
    left = size - int(single.sum())
    if left <= 0:
        raise ValueError(
            f"data.max_train_samples is {size}, but {single.sum()} classes have one image each; choose a larger number"
        )
    _, taken = _stratified(index[~single], labels, left, seed, "data.max_train_samples", names)
    return np.sort(np.concatenate((taken, index[single])))


def _single(labels: np.ndarray) -> np.ndarray:
    """Which samples are the only ones of their class."""
    return np.bincount(labels)[labels] == 1


def _name(label: int, names: Sequence[str]) -> str:
    return repr(names[label]) if label < len(names) else str(label)


def _stratified(
    index: np.ndarray,
    labels: np.ndarray,
    size: int,
    seed: int,
    what: str,
    names: Sequence[str],
    fewer_than_classes: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    try:
        rest, taken = stratified_split(labels[index], size, seed % 2**32, fewer_than_classes)
    except ValueError as error:
        raise ValueError(
            f"{what}: cannot draw {size} of {len(index)} samples evenly: {error}; choose another number"
        ) from None
    return index[rest], index[taken]
