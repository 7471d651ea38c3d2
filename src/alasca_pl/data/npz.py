"""Array files with the keys that MedMNIST uses."""

from pathlib import Path

from alasca_pl.core.npz import ArrayFile, open_npz
from alasca_pl.data.samples import ImageArrays, RawData, as_images, as_labels


def read_npz(path: str | Path) -> RawData:
    """Read ``train_images`` and ``train_labels`` and, if there, the same of ``test`` and ``val``.

    Labels known to be right may be in ``train_clean_labels`` and ``val_clean_labels``, names of the classes, as text, in
    ``class_names``. Nothing in the file is executed: arrays of pickled objects are refused.

    Args:
        path: The file.

    Returns:
        Images of any size, grey, RGB or RGBA; all parts alike.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, lacks a key, or holds something else than images and labels.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}; set data.path to a .npz file with the keys {', '.join(_keys('train', 'test'))}"
        )
    with open_npz(path) as file:
        parts = {"train": _read_part(file, "train")}
        for part in ("test", "val"):
            if any(key in file for key in (*_keys(part), f"{part}_clean_labels")):
                parts[part] = _read_part(file, part)
        class_names = _read_names(file, parts)
    shapes = {part: arrays.images.shape[1:] for part, arrays in parts.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"cannot use {path}: images of its parts differ in size or channels: {shapes}")
    return RawData(parts["train"], parts.get("test"), parts.get("val"), class_names)


def _keys(*parts: str) -> list[str]:
    return [f"{part}_{what}" for part in parts for what in ("images", "labels")]


def _read_part(file: ArrayFile, part: str) -> ImageArrays:
    images = as_images(file[f"{part}_images"], f"{part}_images")
    labels = as_labels(file[f"{part}_labels"], f"{part}_labels")
    if len(images) != len(labels):
        raise ValueError(f"{part}_images holds {len(images)} images, but {part}_labels {len(labels)} labels")
    if not len(labels):
        raise ValueError(f"{part}_images holds no image")
    clean = None
    # Labels of the test part are clean as they are.
    if part != "test" and f"{part}_clean_labels" in file:
        clean = as_labels(file[f"{part}_clean_labels"], f"{part}_clean_labels")
        if len(clean) != len(labels):
            raise ValueError(
                f"{part}_clean_labels holds {len(clean)} labels, but {part}_labels {len(labels)}; "
                "give one clean label per sample, or none at all"
            )
    return ImageArrays(images, labels, clean)


def _read_names(file: ArrayFile, parts: dict[str, ImageArrays]) -> tuple[str, ...]:
    if "class_names" not in file:
        return ()
    names = file["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"class_names has type {names.dtype} and shape {names.shape}; it must be text, (K,)")
    known = [labels for part in parts.values() for labels in (part.labels, part.clean) if labels is not None]
    largest = max(int(labels.max()) for labels in known)
    if largest >= len(names):
        raise ValueError(f"class_names holds {len(names)} names, but there is a label {largest}; name every class")
    return tuple(str(name) for name in names)
