"""Array files with the keys that MedMNIST uses."""

from pathlib import Path

from alasca_pl.core.npz import ArrayFile, open_npz
from alasca_pl.data.places import find_arrays
from alasca_pl.data.samples import ImageArrays, RawData, as_images, as_labels


def read_npz(path: str | Path) -> RawData:
    """Read ``train_images`` and ``train_labels`` and, if present, the same for ``test`` and ``val``.

    Labels known to be correct may be in ``train_clean_labels``, and likewise for ``test`` and ``val``, names of the classes,
    as text, in ``class_names``. Nothing in the file is executed: arrays of pickled objects are refused.

    Args:
        path: The file.

    Returns:
        Images of any size, grey, RGB or RGBA; the same for all splits.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, lacks a key, or contains anything but images and labels.
    """
    path = find_arrays(path)
    with open_npz(path) as file:
        splits = {"train": _read_split(file, "train")}
        for split in ("test", "val"):
            if any(key in file for key in (f"{split}_images", f"{split}_labels", f"{split}_clean_labels")):
                splits[split] = _read_split(file, split)
        class_names = _read_names(file, splits)
    shapes = {split: arrays.images.shape[1:] for split, arrays in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"cannot use {path}: images of its splits differ in size or channels: {shapes}")
    return RawData(splits["train"], splits.get("test"), splits.get("val"), class_names)


def _read_split(file: ArrayFile, split: str) -> ImageArrays:
    images = as_images(file[f"{split}_images"], f"{split}_images")
    labels = as_labels(file[f"{split}_labels"], f"{split}_labels")
    if len(images) != len(labels):
        raise ValueError(f"{split}_images holds {len(images)} images, but {split}_labels {len(labels)} labels")
    if not len(labels):
        raise ValueError(f"{split}_images holds no images")
    clean = None
    if f"{split}_clean_labels" in file:
        clean = as_labels(file[f"{split}_clean_labels"], f"{split}_clean_labels")
        if len(clean) != len(labels):
            raise ValueError(
                f"{split}_clean_labels holds {len(clean)} labels, but {split}_labels {len(labels)}; "
                "give one clean label per sample, or none at all"
            )
    return ImageArrays(images, labels, clean)


def _read_names(file: ArrayFile, splits: dict[str, ImageArrays]) -> tuple[str, ...]:
    if "class_names" not in file:
        return ()
    names = file["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"class_names has type {names.dtype} and shape {names.shape}; it must be text, (K,)")
    known = [labels for split in splits.values() for labels in (split.labels, split.clean) if labels is not None]
    largest = max(int(labels.max()) for labels in known)
    if largest >= len(names):
        raise ValueError(f"class_names holds {len(names)} names, but there is a label {largest}; name every class")
    return tuple(str(name) for name in names)
