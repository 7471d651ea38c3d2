"""CIFAR-10 and CIFAR-100, from an array file if there is one, else through torchvision."""

import contextlib
import shutil
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from alasca_pl.data.npz import read_npz
from alasca_pl.data.samples import ImageArrays, RawData

# For array files, which need not contain names; torchvision's files do.
_NAMES = {"cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")}
_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
# Archive and folder of torchvision's files.
_FILES = {
    "cifar10": ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "cifar-100-python"),
}


def read_cifar(name: Literal["cifar10", "cifar100"], root: str | Path, download: bool = True) -> RawData:
    """Read 50,000 training and 10,000 test images of 32 x 32 pixels.

    Args:
        name: ``cifar10`` or ``cifar100``.
        root: Folder of the data. A file ``<name>.npz`` with MedMNIST's keys is used if it exists; otherwise
            torchvision's files. Torchvision compares their checksums before it opens them.
        download: Let torchvision fetch missing files into ``root``.

    Raises:
        FileNotFoundError: If the data is missing and may not, or could not, be downloaded.
        ValueError: If ``name`` is unknown.
    """
    if name not in _CLASSES:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(_CLASSES)}")
    root = Path(root).expanduser()
    if (root / f"{name}.npz").is_file():
        raw = read_npz(root / f"{name}.npz")
        return raw if raw.class_names else replace(raw, class_names=_NAMES.get(name, ()))
    url, folder = _FILES[name]
    by_hand = (
        f"get {url} and unpack it there, so that there is a folder {root.absolute() / folder}, or put {name}.npz there; "
        "data.root=DIR names another place"
    )
    try:
        splits, names = _read_torchvision(name, root)
    except (RuntimeError, OSError) as missing:
        if not download:
            raise FileNotFoundError(
                f"{name} is missing or incomplete in {root.absolute()} ({missing}): allow data.download=true, or {by_hand}"
            ) from missing
        try:
            splits, names = _download(name, root)
        except (RuntimeError, OSError, HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise FileNotFoundError(
                f"{name} could not be downloaded to {root.absolute()} ({reason}): {by_hand}"
            ) from error
    return RawData(splits["train"], splits["test"], class_names=names)


def _dataset(name: str) -> Any:
    # Imported late, because array files do not need it.
    from torchvision import datasets

    return getattr(datasets, _CLASSES[name])


def _read_torchvision(name: str, root: Path) -> tuple[dict[str, ImageArrays], tuple[str, ...]]:
    splits = {}
    names: tuple[str, ...] = ()
    for split in ("train", "test"):
        dataset = _dataset(name)(str(root), train=split == "train", download=False)
        splits[split] = ImageArrays(np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64))
        names = tuple(dataset.classes)
    return splits, names


def _download(name: str, root: Path) -> tuple[dict[str, ImageArrays], tuple[str, ...]]:
    made = [place for place in (root, *root.parents) if not place.exists()]
    root.mkdir(parents=True, exist_ok=True)
    url, folder = _FILES[name]
    lock = root / f".{name}.lock"
    new = [place for place in (lock, root / url.rpartition("/")[2], root / folder) if not place.exists()]
    try:
        # Several processes of one run may reach this at once; one of them downloads.
        with FileLock(lock):
            _dataset(name)(str(root), train=True, download=True)
    except (RuntimeError, OSError, HTTPException):
        # What stays would look as if something had been fetched; what was there before is the user's.
        for place in new:
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise
    return _read_torchvision(name, root)
