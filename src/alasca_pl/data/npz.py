"""Array files with the keys that MedMNIST uses."""

from pathlib import Path

from alasca_pl.core.npz import ArrayFile, open_npz
from alasca_pl.data.arrays import ImageArrays, RawData, as_images, as_labels


def read_npz(path: str | Path) -> RawData:
    """Read ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and, if there, ``val_images``, ``val_labels``.

    Nothing in the file is executed: arrays of pickled objects are refused.

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
        parts = {part: _read_part(file, part) for part in ("train", "test")}
        if any(key in file for key in _keys("val")):
            parts["val"] = _read_part(file, "val")
    shapes = {part: arrays.images.shape[1:] for part, arrays in parts.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"cannot use {path}: images of its parts differ in size or channels: {shapes}")
    return RawData(parts["train"], parts["test"], parts.get("val"))


def _keys(*parts: str) -> list[str]:
    return [f"{part}_{what}" for part in parts for what in ("images", "labels")]


def _read_part(file: ArrayFile, part: str) -> ImageArrays:
    images = as_images(file[f"{part}_images"], f"{part}_images")
    labels = as_labels(file[f"{part}_labels"], f"{part}_labels")
    if len(images) != len(labels):
        raise ValueError(f"{part}_images holds {len(images)} images, but {part}_labels {len(labels)} labels")
    if not len(labels):
        raise ValueError(f"{part}_images holds no image")
    return ImageArrays(images, labels)
